//! The routes of vLLM's development mode: pause, sleep, caches, aborts and the server's configuration.
//!
//! They exist only with [`SimConfig::dev_mode`](crate::SimConfig::dev_mode), as in vLLM only with
//! `VLLM_SERVER_DEV_MODE=1`, and need no key, as in vLLM.

use std::time::Duration;

use hyper::Response;
use serde_json::{Map, Value, json};

use super::Shared;
use super::api_error::ApiError;
use super::body::SimBody;
use super::reply;
use crate::engine::PauseMode;

/// Poll interval for a pause that waits.
const LOOK: Duration = Duration::from_millis(2);

/// The routes.
pub(crate) const PATHS: [&str; 11] = [
    "/pause",
    "/resume",
    "/is_paused",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/reset_encoder_cache",
    "/abort_requests",
    "/server_info",
];

/// Answers a request to one of [`PATHS`].
///
/// # Errors
/// 400 for a parameter or body that vLLM would reject, 405 for the wrong method.
pub(crate) async fn answer(
    shared: &Shared,
    method: &str,
    path: &str,
    query: &str,
    body: &[u8],
) -> Result<Response<SimBody>, ApiError> {
    let answer = match (method, path) {
        ("POST", "/pause") => {
            pause(shared, mode(query)?).await;
            if flag(query, "clear_cache", true)? && mode(query)? != PauseMode::Keep {
                reset_prefix_cache(shared);
            }
            json!({ "status": "paused" })
        }
        ("POST", "/resume") => {
            shared.engines.iter().for_each(|e| e.resume());
            json!({ "status": "resumed" })
        }
        ("GET", "/is_paused") => json!({ "is_paused": shared.engines.iter().all(|e| e.is_paused()) }),
        ("POST", "/sleep") => {
            sleep(shared, query).await?;
            return Ok(reply::empty(200));
        }
        ("POST", "/wake_up") => {
            wake_up(shared, query)?;
            return Ok(reply::empty(200));
        }
        ("GET", "/is_sleeping") => json!({ "is_sleeping": shared.engines.iter().any(|e| e.is_asleep()) }),
        ("POST", "/reset_prefix_cache") => {
            if flag(query, "reset_running_requests", false)? {
                shared.engines.iter().for_each(|e| e.preempt_all());
            }
            json!({ "success": reset_prefix_cache(shared) })
        }
        // These caches are empty: the simulated model accepts only text.
        ("POST", "/reset_mm_cache" | "/reset_encoder_cache") => return Ok(reply::empty(200)),
        ("POST", "/abort_requests") => json!({ "status": "aborted", "aborted": abort(shared, body)? }),
        ("GET", "/server_info") => server_info(shared, query),
        _ => return Err(ApiError::method_not_allowed(path, method)),
    };
    Ok(reply::json(200, answer.to_string()))
}

async fn pause(shared: &Shared, mode: PauseMode) {
    shared.engines.iter().for_each(|e| e.pause(mode));
    while mode == PauseMode::Wait && !shared.engines.iter().all(|e| e.is_paused()) {
        tokio::time::sleep(LOOK).await;
    }
}

async fn sleep(shared: &Shared, query: &str) -> Result<(), ApiError> {
    let level = match parameter(query, "level") {
        None => 1,
        Some("0") => 0,
        Some("1") => 1,
        Some("2") => 2,
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "level is {other}: it must be 0, 1 or 2"
            )));
        }
    };
    if level > 0 && !shared.config.enable_sleep_mode {
        return Err(ApiError::bad_request(
            "sleep mode is not enabled: start the server with --enable-sleep-mode",
        ));
    }
    pause(shared, mode(query)?).await;
    shared.engines.iter().for_each(|e| e.fall_asleep(level));
    Ok(())
}

fn wake_up(shared: &Shared, query: &str) -> Result<(), ApiError> {
    let tags: Vec<&str> = parameters(query, "tags").collect();
    if let Some(other) = tags.iter().find(|tag| !matches!(**tag, "weights" | "kv_cache")) {
        return Err(ApiError::bad_request(format!(
            "tags has {other}: the tags are weights and kv_cache"
        )));
    }
    let wakes = |tag| tags.is_empty() || tags.contains(&tag);
    let (weights, kv_cache) = (wakes("weights"), wakes("kv_cache"));
    shared.engines.iter().for_each(|e| e.wake_up(weights, kv_cache));
    Ok(())
}

/// True if no engine holds a block.
fn reset_prefix_cache(shared: &Shared) -> bool {
    let reset: Vec<bool> = shared.engines.iter().map(|e| e.reset_prefix_cache()).collect();
    reset.into_iter().all(|reset| reset)
}

/// Ends the requests named in the body, or all if it names none.
fn abort(shared: &Shared, body: &[u8]) -> Result<usize, ApiError> {
    let body: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not a JSON object: {error}")))?;
    let ids = body.get("request_ids").and_then(Value::as_array);
    let Some(ids) = ids.filter(|ids| !ids.is_empty()) else {
        return Ok(shared.engines.iter().map(|e| e.end_all_by_abort()).sum());
    };
    let mut aborted = 0;
    for id in ids.iter().filter_map(Value::as_str) {
        for (engine, part) in shared.parts_of(id) {
            aborted += shared.engines[engine].end_by_abort(&[part]);
        }
    }
    Ok(aborted)
}

/// The part of vLLM's configuration that the simulator has, under vLLM's names.
fn server_info(shared: &Shared, query: &str) -> Value {
    let (config, engine) = (&shared.config, &shared.config.engine);
    let vllm_config = json!({
        "model_config": { "model": config.model, "max_model_len": engine.max_model_len },
        "cache_config": {
            "block_size": engine.block_size,
            "num_gpu_blocks": engine.num_gpu_blocks,
            "enable_prefix_caching": engine.enable_prefix_caching,
        },
        "scheduler_config": {
            "max_num_seqs": engine.max_num_seqs,
            "max_num_batched_tokens": engine.max_num_batched_tokens,
            "enable_chunked_prefill": engine.enable_chunked_prefill,
            "max_num_queued_reqs": config.max_num_queued_reqs,
            "max_num_queued_tokens": config.max_num_queued_tokens,
            "watermark": engine.watermark,
        },
        "parallel_config": { "data_parallel_size": config.replicas },
    });
    match parameter(query, "config_format") {
        Some("json") => json!({ "simulated": true, "vllm_config": vllm_config }),
        _ => json!({ "simulated": true, "vllm_config": vllm_config.to_string() }),
    }
}

fn mode(query: &str) -> Result<PauseMode, ApiError> {
    match parameter(query, "mode") {
        None if flag(query, "wait_for_inflight_requests", false)? => Ok(PauseMode::Wait),
        None => Ok(PauseMode::default()),
        Some(name) => PauseMode::named(name)
            .ok_or_else(|| ApiError::bad_request(format!("mode is {name}: it must be abort, wait or keep"))),
    }
}

fn flag(query: &str, name: &str, default: bool) -> Result<bool, ApiError> {
    match parameter(query, name).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(default),
        Some("true" | "1" | "yes" | "on") => Ok(true),
        Some("false" | "0" | "no" | "off") => Ok(false),
        Some(other) => Err(ApiError::bad_request(format!(
            "{name} is {other}: it must be true or false"
        ))),
    }
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    parameters(query, name).next()
}

/// The values of these parameters are plain words and need no decoding.
fn parameters<'q>(query: &'q str, name: &str) -> impl Iterator<Item = &'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value)
}
