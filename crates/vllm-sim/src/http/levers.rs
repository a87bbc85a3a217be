//! `/v1/monitor`: the limits of scheduler and admission, read and changed while the server runs.
//!
//! The bodies are those of the Python plugin inside vLLM and of the client in `monitor-acting`;
//! `docs/acting.md` defines them. Every request needs the control token as `X-Monitor-Token`.

use std::cmp::Reverse;

use hyper::Response;
use serde_json::{Map, Value, json};

use super::Shared;
use super::api_error::ApiError;
use super::body::SimBody;
use super::reply;
use crate::engine::InFlight;
use crate::levers::Lever;

/// Longest time to live of a lever, in seconds.
const MOST_TTL_S: f64 = 3600.0;
/// Default time to live, in seconds.
const USUAL_TTL_S: f64 = 60.0;

/// Answers `GET /v1/monitor/levers`.
///
/// # Errors
/// 405 for other methods.
pub(crate) fn all(shared: &Shared, method: &str) -> Result<Response<SimBody>, ApiError> {
    if method != "GET" {
        return Err(ApiError::method_not_allowed("/v1/monitor/levers", method));
    }
    let levers: Vec<Value> = Lever::ALL.map(|lever| describe(shared, lever)).into();
    let state = json!({ "levers": levers, "aborts": ["newest", "longest"] });
    Ok(reply::json(200, state.to_string()))
}

fn describe(shared: &Shared, lever: Lever) -> Value {
    let now = shared.clock.now();
    let default = lever.default_value(&shared.config);
    let (least, most) = lever.bounds(&shared.config);
    let mut state = json!({ "name": lever.name(), "value": default, "least": least, "most": most });
    let moved = shared.admission.levers().moved(now);
    if let Some(setting) = moved.iter().find(|setting| setting.lever == lever) {
        state["value"] = setting.value.into();
        state["before"] = default.into();
        state["seconds_left"] = ((setting.until - now) as f64 / 1e9).into();
    }
    state
}

/// Answers a request about one lever.
///
/// # Errors
/// 400 names the error in the body, 404 an unknown lever, 405 the method.
pub(crate) fn one(
    shared: &Shared,
    method: &str,
    name: &str,
    body: &[u8],
) -> Result<Response<SimBody>, ApiError> {
    let lever = Lever::named(name).ok_or_else(|| ApiError::not_found(format!("there is no lever {name}")))?;
    let value_now = || {
        let set = shared.admission.levers().get(lever, shared.clock.now());
        set.or(lever.default_value(&shared.config))
    };
    let before = value_now();
    let seconds_left = match method {
        "POST" => {
            let body = object(body)?;
            let ttl = body.get("ttl_seconds").map_or(Some(USUAL_TTL_S), Value::as_f64);
            let (Some(value), Some(ttl)) = (body.get("value").and_then(Value::as_u64), ttl) else {
                return Err(ApiError::bad_request(
                    "the body must be {\"value\": whole number, \"ttl_seconds\": seconds}",
                ));
            };
            if !(ttl > 0.0 && ttl <= MOST_TTL_S) {
                return Err(ApiError::bad_request(format!(
                    "ttl_seconds is {ttl}: it must be above 0 and at most {MOST_TTL_S}"
                )));
            }
            let checked = lever.check(value, &shared.config);
            checked.map_err(|error| ApiError::bad_request(error.to_string()))?;
            let until = shared.clock.now().saturating_add((ttl * 1e9) as u64);
            change(shared, lever, Some((value, until)));
            Some(ttl)
        }
        "DELETE" => {
            change(shared, lever, None);
            None
        }
        _ => return Err(ApiError::method_not_allowed("/v1/monitor/levers/NAME", method)),
    };
    let state = json!({ "name": name, "value": value_now(), "before": before, "seconds_left": seconds_left });
    Ok(reply::json(200, state.to_string()))
}

fn change(shared: &Shared, lever: Lever, setting: Option<(u64, u64)>) {
    let levers = shared.admission.change_levers(|levers| match setting {
        Some((value, until)) => levers.set(lever, value, until),
        None => levers.reset(lever),
    });
    shared.engines.iter().for_each(|engine| engine.set_levers(levers));
}

/// Answers `POST /v1/monitor/abort`: ends requests by age or by length.
///
/// # Errors
/// 400 names the error in the body, 405 the method.
pub(crate) fn abort(shared: &Shared, method: &str, body: &[u8]) -> Result<Response<SimBody>, ApiError> {
    if method != "POST" {
        return Err(ApiError::method_not_allowed("/v1/monitor/abort", method));
    }
    let body = object(body)?;
    let count = body.get("count").and_then(Value::as_u64);
    let aborted = match (body.get("which").and_then(Value::as_str), count) {
        (Some("newest"), Some(count)) => {
            end_first(shared, count as usize, |request| Reverse(request.arrival))
        }
        (Some("longest"), Some(count)) => end_first(shared, count as usize, |request| {
            Reverse(u64::from(request.tokens))
        }),
        _ => {
            return Err(ApiError::bad_request(
                "the body must be {\"which\": \"newest\" or \"longest\", \"count\": whole number}",
            ));
        }
    };
    Ok(reply::json(200, json!({ "aborted": aborted }).to_string()))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not a JSON object: {error}")))
}

fn end_first<K: Ord>(shared: &Shared, count: usize, order: impl Fn(&InFlight) -> K) -> usize {
    if count == 0 {
        return 0;
    }
    let engines = shared.engines.iter();
    let mut all: Vec<_> = engines
        .flat_map(|engine| {
            engine
                .in_flight()
                .into_iter()
                .map(move |request| (engine, request))
        })
        .collect();
    all.sort_by_key(|(_, request)| order(request));
    let chosen = all.iter().take(count);
    chosen
        .map(|(engine, request)| engine.end_by_abort(&[request.id]))
        .sum()
}
