//! Routing by path.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use serde_json::json;

use super::api_error::ApiError;
use super::body::SimBody;
use super::live::{Live, Worker};
use super::openai::{self, Generation, Kind};
use super::reply;
use super::stream::{Answer, Spec};
use super::stream_fault::{self, StreamFault};
use super::wire::Trigger;
use super::{Shared, dev, guard, levers};
use crate::config::MetricsStyle;
use crate::engine;
use crate::faults::{Fault, FaultRule};
use crate::levers::Lever;
use crate::metrics::{Exchange, page, part, process, sglang};

/// Longest body that is read; far above the longest possible prompt.
const MAX_BODY_BYTES: usize = 256 << 20;
/// The levers.
const LEVERS: &str = "/v1/monitor/levers";
/// Prefix of a lever's name.
const ONE_LEVER: &str = "/v1/monitor/levers/";
/// Aborts requests by age or length.
const ABORT: &str = "/v1/monitor/abort";
/// Longest body of a control route.
const MAX_CONTROL_BYTES: usize = 1 << 20;
/// States that it is simulated, and still parses as the release whose metrics and API it follows.
pub(crate) const VERSION: &str = "0.32.0+simulated";

/// Answers any request. `trigger` resets its connection.
pub(crate) async fn answer(
    worker: Rc<Worker>,
    request: Request<Incoming>,
    trigger: Trigger,
) -> Response<SimBody> {
    let started = worker.shared.clock.now();
    let method = request.method().clone();
    if let Err(error) = guard::check(&request, &worker.shared.config) {
        return reply::failed(&error);
    }
    let handler = handler_name(request.uri().path(), &worker.shared);
    let exchange = Exchange {
        handler,
        method: method_name(&method),
        status: 200,
        seconds: 0.0,
        request_bytes: request.body().size_hint().exact().unwrap_or(0),
        response_bytes: 0,
    };
    let response = match (handler, method.as_str()) {
        ("/v1/completions" | "/v1/chat/completions", "POST") => {
            let kind = if handler == "/v1/completions" {
                Kind::Completion
            } else {
                Kind::Chat
            };
            match generate(
                &worker,
                kind,
                request,
                RequestStart {
                    started,
                    exchange,
                    trigger,
                },
            )
            .await
            {
                // Generation requests are counted by the owner of the answer, when it ends.
                Ok(response) => return response,
                Err(error) => reply::failed(&error),
            }
        }
        ("/metrics", "GET") => metrics(&worker, request.uri(), &trigger).await,
        ("/sim/faults" | LEVERS | ABORT, _) => controls(&worker, handler, request)
            .await
            .unwrap_or_else(|error| reply::failed(&error)),
        (path, _) if dev::PATHS.contains(&path) => dev_mode(&worker, path, request)
            .await
            .unwrap_or_else(|error| reply::failed(&error)),
        _ => other(&worker, &method, handler, &request),
    };
    if !matches!(
        handler,
        "/metrics" | "/health" | "/ping" | "/version" | "/load" | "/sim/faults" | LEVERS | ABORT
    ) {
        let response_bytes = response.body().size_hint().exact().unwrap_or(0);
        let exchange = Exchange {
            status: response.status().as_u16(),
            response_bytes,
            ..exchange
        };
        worker.shared.record(exchange, started);
    }
    response
}

/// The path if it is one of ours, otherwise `none`: label values must not grow with the paths that clients
/// try.
fn handler_name(path: &str, shared: &Shared) -> &'static str {
    const PATHS: [&str; 14] = [
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/models",
        "/metrics",
        "/health",
        "/ping",
        "/load",
        "/version",
        "/start_profile",
        "/stop_profile",
        "/metrics/",
        "/sim/faults",
        LEVERS,
        ABORT,
    ];
    if path.starts_with(ONE_LEVER) {
        return LEVERS;
    }
    let dev = if shared.config.dev_mode {
        dev::PATHS.as_slice()
    } else {
        &[]
    };
    PATHS
        .iter()
        .chain(dev)
        .find(|known| **known == path)
        .map_or("none", |known| known.trim_end_matches('/'))
}

fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn other(worker: &Worker, method: &Method, handler: &str, request: &Request<Incoming>) -> Response<SimBody> {
    let shared = &worker.shared;
    let drained = || shared.admission.levers().get(Lever::Drain, shared.clock.now()) == Some(1);
    match (method.as_str(), handler) {
        ("GET", "/health") | ("GET" | "POST", "/ping") if shared.is_dead() || drained() => reply::empty(503),
        ("GET", "/health") | ("GET" | "POST", "/ping") => reply::empty(200),
        ("GET", "/version") => reply::json(200, json!({ "version": VERSION }).to_string()),
        ("GET", "/v1/models") => reply::json(200, models(worker)),
        ("GET", "/load") => {
            let load: usize = shared.engines.iter().map(|e| e.unfinished()).sum();
            reply::json(200, json!({ "server_load": load }).to_string())
        }
        ("POST", "/start_profile" | "/stop_profile") => {
            tracing::info!(handler, "profiling is accepted and does nothing");
            reply::empty(200)
        }
        (_, "none") => reply::failed(&ApiError::not_found(format!("no route {}", request.uri().path()))),
        (method, path) => reply::failed(&ApiError::method_not_allowed(path, method)),
    }
}

/// The page, possibly changed by a fault.
async fn metrics(worker: &Worker, uri: &Uri, trigger: &Trigger) -> Response<SimBody> {
    match worker.shared.faults.on_scrape() {
        Some(Fault::MetricsSlow { delay }) => tokio::time::sleep(delay).await,
        Some(Fault::MetricsGarbage) => {
            return reply::with_type(200, page::CONTENT_TYPE, stream_fault::garbage());
        }
        Some(Fault::MetricsStatus { code }) => return reply::failed(&ApiError::scripted(code)),
        Some(Fault::MetricsReset) => {
            trigger.reset();
            return reply::empty(200);
        }
        Some(Fault::MetricsTruncate) => {
            return reply::broken(200, page::CONTENT_TYPE, metrics_page(worker));
        }
        _ => {}
    }
    let page = metrics_page(worker);
    let asked = part::asked(uri.query().unwrap_or(""));
    // As in vLLM, where `/metrics` itself ignores the query.
    if uri.path() == "/metrics/" && !asked.is_empty() {
        return reply::with_type(200, page::CONTENT_TYPE, part::only(&page, &asked));
    }
    reply::with_type(200, page::CONTENT_TYPE, page)
}

/// The routes that need the control token.
async fn controls(
    worker: &Worker,
    path: &str,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, ApiError> {
    let shared = &worker.shared;
    guard::check_token(request.headers(), &shared.config)?;
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let body = body(shared, request, MAX_CONTROL_BYTES).await?;
    match (path, uri.path().strip_prefix(ONE_LEVER)) {
        ("/sim/faults", _) => faults(shared, method.as_str(), &body),
        (ABORT, _) => levers::abort(shared, method.as_str(), &body),
        (_, Some(name)) => levers::one(shared, method.as_str(), name, &body),
        (_, None) => levers::all(shared, method.as_str()),
    }
}

async fn dev_mode(
    worker: &Worker,
    path: &str,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, ApiError> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let body = body(&worker.shared, request, MAX_CONTROL_BYTES).await?;
    let query = uri.query().unwrap_or("");
    dev::answer(&worker.shared, method.as_str(), path, query, &body).await
}

/// Reads a body, within a limit of bytes and of time.
async fn body(shared: &Shared, request: Request<Incoming>, most: usize) -> Result<Bytes, ApiError> {
    let timeout = shared.config.request_timeout;
    let read = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(timeout, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(ApiError::bad_request(format!(
            "the body did not arrive whole: {error}"
        ))),
        Err(_) => Err(ApiError::bad_request(format!(
            "the body did not arrive within {}",
            duration_text::Shown(timeout)
        ))),
    }
}

/// Lists the rules with their hits (GET), adds those in the body, one a line (POST), or clears them (DELETE).
fn faults(shared: &Shared, method: &str, body: &[u8]) -> Result<Response<SimBody>, ApiError> {
    match method {
        "GET" => {}
        "DELETE" => shared.faults.clear(),
        "POST" => {
            let rules: Result<Vec<FaultRule>, _> = String::from_utf8_lossy(body)
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(str::parse)
                .collect();
            let rules = rules.map_err(|error| ApiError::bad_request(error.to_string()))?;
            rules.into_iter().for_each(|rule| shared.faults.add(rule));
        }
        _ => return Err(ApiError::method_not_allowed("/sim/faults", method)),
    }
    shared.control.look_again();
    let list: String = shared
        .faults
        .hits()
        .iter()
        .map(|(rule, hits)| format!("{hits}\t{rule}\n"))
        .collect();
    Ok(reply::with_type(200, "text/plain; charset=utf-8", list))
}

fn metrics_page(worker: &Worker) -> String {
    let shared = &worker.shared;
    let engines: Vec<_> = shared.engines.iter().map(|engine| engine.stats()).collect();
    let http = shared.lock_http();
    let snapshot = page::Snapshot {
        model: &shared.config.model,
        config: &shared.config.engine,
        engines: &engines,
        http: &http,
        rejections: shared.admission.rejections(),
        started_secs: shared.clock.wall_secs(0),
        process: process::read(),
    };
    match shared.config.metrics_style {
        MetricsStyle::Vllm => page::render(&snapshot),
        MetricsStyle::Sglang => sglang::render(&snapshot),
    }
}

fn models(worker: &Worker) -> String {
    let shared = &worker.shared;
    json!({
        "object": "list",
        "data": [{
            "id": shared.config.model,
            "object": "model",
            "created": shared.clock.wall_secs(0) as u64,
            "owned_by": "vllm-sim",
            "root": shared.config.model,
            "parent": null,
            "max_model_len": shared.config.engine.max_model_len,
            "permission": [],
        }],
    })
    .to_string()
}

/// Data about a generation request before its body is read.
struct RequestStart {
    started: u64,
    exchange: Exchange,
    trigger: Trigger,
}

async fn generate(
    worker: &Rc<Worker>,
    kind: Kind,
    request: Request<Incoming>,
    begun: RequestStart,
) -> Result<Response<SimBody>, ApiError> {
    let shared = &worker.shared;
    let request_id = request.headers().get("x-request-id").cloned();
    let body = body(shared, request, MAX_BODY_BYTES).await?;
    let generation = openai::read(kind, &body, &shared.config, shared.tokenizer)?;
    // Only requests that the server would have answered are counted and affected by faults.
    if shared.is_dead() {
        return Err(ApiError::dead_engine());
    }
    let stream_fault = match shared.faults.on_generation() {
        Some(Fault::Status { code }) => return Err(ApiError::scripted(code)),
        Some(Fault::Hang { lasts }) => {
            shared.control.inject(Fault::Hang { lasts });
            None
        }
        Some(death @ Fault::EngineDeath { .. }) => {
            shared.control.inject(death);
            return Err(ApiError::dead_engine());
        }
        Some(end @ (Fault::Die | Fault::Restart { .. })) => {
            shared.control.inject(end);
            // The connection is closed when the server ends.
            std::future::pending().await
        }
        other => other.and_then(|fault| StreamFault::new(fault, begun.trigger.clone())),
    };
    let tokens: u64 = generation.prompts.iter().map(|p| p.len() as u64).sum();
    if !shared
        .admission
        .admits(shared.clock.now(), generation.prompts.len(), tokens)
    {
        return Err(ApiError::overloaded(
            "too many requests are unfinished: try again later",
        ));
    }
    let spec = spec(shared, kind, &generation, request_id.as_ref(), begun.started);
    let answer = Answer::new(spec, generation.prompts.clone());
    let mut live = Live::new(Rc::clone(worker), answer, begun.started, begun.exchange)
        .ok_or_else(|| ApiError::overloaded("too many streams on one thread"))?;
    submit(worker, &generation, &mut live);
    let mut response = if generation.stream {
        if let Some((stream_fault, tokens)) = stream_fault {
            live.inject(stream_fault, tokens);
        }
        let mut response = Response::new(SimBody::Stream(Box::new(live)));
        let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    } else {
        let whole = match live.whole().await {
            Ok(whole) => whole,
            // Already counted, with its status.
            Err(error) => return Ok(reply::failed(&error)),
        };
        match stream_fault {
            Some((stream_fault, _)) => with_fault(stream_fault, whole).await,
            None => reply::with_type(200, reply::JSON, whole),
        }
    };
    if let Some(id) = request_id {
        response.headers_mut().insert("x-request-id", id);
    }
    Ok(response)
}

/// An answer that is not streamed, with the fault of a stream.
async fn with_fault(stream_fault: StreamFault, whole: Bytes) -> Response<SimBody> {
    match stream_fault.fault {
        Fault::Reset { .. } => {
            stream_fault.trigger.reset();
            reply::empty(200)
        }
        Fault::Truncate { .. } => reply::broken(200, reply::JSON, whole),
        Fault::Stall {
            lasts: Some(lasts), ..
        } => {
            tokio::time::sleep(lasts).await;
            reply::with_type(200, reply::JSON, whole)
        }
        Fault::Garbage { .. } => reply::with_type(200, reply::JSON, stream_fault::garbage()),
        Fault::Error { .. } => reply::failed(&ApiError::scripted(500)),
        _ => std::future::pending().await,
    }
}

fn spec(
    shared: &Shared,
    kind: Kind,
    generation: &Generation,
    id: Option<&HeaderValue>,
    started: u64,
) -> Spec {
    let number = shared.next_request();
    let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
    Spec {
        kind,
        id: match id.and_then(|id| id.to_str().ok()) {
            Some(id) => format!("{prefix}-{id}"),
            None => format!("{prefix}-{number:032x}"),
        },
        model_json: shared.model_json.clone(),
        created: shared.clock.wall_secs(started) as u64,
        streaming: generation.stream,
        include_usage: generation.include_usage,
        continuous_usage: generation.continuous_usage,
        return_token_ids: generation.return_token_ids,
        per_request_metrics: shared.config.per_request_metrics,
        interval: shared.config.stream_interval,
        tokenizer: shared.tokenizer,
    }
}

fn submit(worker: &Worker, generation: &Generation, live: &mut Live) {
    let engines = &worker.shared.engines;
    for (choice, prompt) in generation.prompts.iter().enumerate() {
        let engine = match engines.len() {
            1 => 0,
            // The first of the least loaded ones.
            n => (0..n)
                .min_by_key(|&at| engines[at].unfinished())
                .expect("a server has an engine"),
        };
        let id = engines[engine].submit(engine::Request {
            route: live.route(choice),
            prompt: prompt.clone(),
            max_tokens: generation.max_tokens.unwrap_or(u32::MAX),
            min_tokens: generation.min_tokens,
            ignore_eos: generation.ignore_eos,
            seed: generation.seed,
            reference: worker.shared.reference(prompt),
        });
        live.add(engine, id);
    }
}
