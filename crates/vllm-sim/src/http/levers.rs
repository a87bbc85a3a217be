//! `/v1/monitor/levers`: the limits of scheduler and admission, read and changed while the server runs.
//!
//! A plugin inside a real vLLM is meant to offer the same route with the same bodies; `/v1` is one of the
//! prefixes protected by vLLM's API key. Every request needs the control token.
//!
//! - `GET` shows the levers.
//! - `POST` sets some: `{"max_num_active_reqs": 4, "ttl_s": 30}`. A number needs `ttl_s`, the seconds after
//!   which the lever resets by itself; `null` resets it now. `abort_newest` and `abort_longest` end that many
//!   requests. Nothing is changed unless the whole body is valid.
//! - `DELETE` resets all.
//!
//! Each returns the state afterwards:
//!
//! ```json
//! {"levers": {"max_num_active_reqs": {"value": 4, "default": 1024, "least": 1, "most": 1024, "expires_in_s": 30.0},
//!             "max_num_queued_reqs": {"value": null, "default": null, "least": 0, "most": 4294967295,
//!                                     "expires_in_s": null}},
//!  "aborted": 0}
//! ```
//!
//! A single lever is set as in the Python plugin of this repository: `POST /v1/monitor/levers/NAME` with
//! `{"value": 4, "ttl_seconds": 30}` (default 60), and `DELETE /v1/monitor/levers/NAME`. Both answer with
//! `{"name": …, "value": …, "before": …, "seconds_left": …}`.
//!
//! `value` is the current one, `null` for no limit; `expires_in_s` is `null` for a lever at its default.

use std::cmp::Reverse;

use hyper::Response;
use serde_json::{Map, Value, json};

use super::Shared;
use super::body::SimBody;
use super::reply::{self, ApiError};
use crate::engine::InFlight;
use crate::levers::Lever;

/// Longest time to live of a lever, in seconds.
const MOST_TTL_S: f64 = 86_400.0;

/// Answers one request; `body` is that of a `POST`.
///
/// # Errors
/// 400 names the invalid key, 405 the method.
pub(crate) fn answer(shared: &Shared, method: &str, body: &[u8]) -> Result<Response<SimBody>, ApiError> {
    let aborted = match method {
        "GET" => 0,
        "DELETE" => {
            change(shared, &Lever::ALL.map(|lever| (lever, None)), 0);
            0
        }
        "POST" => {
            let orders = Orders::read(shared, body)?;
            change(shared, &orders.levers, orders.until);
            abort(shared, &orders)
        }
        _ => return Err(ApiError::method_not_allowed("/v1/monitor/levers", method)),
    };
    let state = json!({ "levers": state(shared), "aborted": aborted });
    Ok(reply::json(200, state.to_string()))
}

/// Default time to live of a single lever, in seconds.
const USUAL_TTL_S: f64 = 60.0;

/// Answers a request about one lever.
///
/// # Errors
/// 400 names the error in the body, 404 an unknown lever, 405 the method.
pub(crate) fn answer_one(
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
            let body: Map<String, Value> = serde_json::from_slice(body)
                .map_err(|error| ApiError::bad_request(format!("the body is not a JSON object: {error}")))?;
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
            change(shared, &[(lever, Some(value))], until);
            Some(ttl)
        }
        "DELETE" => {
            change(shared, &[(lever, None)], 0);
            None
        }
        _ => return Err(ApiError::method_not_allowed("/v1/monitor/levers/NAME", method)),
    };
    let state = json!({ "name": name, "value": value_now(), "before": before, "seconds_left": seconds_left });
    Ok(reply::json(200, state.to_string()))
}

/// A validated request body.
#[derive(Default)]
struct Orders {
    levers: Vec<(Lever, Option<u64>)>,
    until: u64,
    abort_newest: usize,
    abort_longest: usize,
}

impl Orders {
    fn read(shared: &Shared, body: &[u8]) -> Result<Self, ApiError> {
        let bad = |text: String| Err(ApiError::bad_request(text));
        let body: Map<String, Value> = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => return bad(format!("the body is not a JSON object: {error}")),
        };
        let mut orders = Self::default();
        let mut ttl = None;
        for (key, value) in &body {
            match (key.as_str(), value.as_u64()) {
                ("ttl_s", _) => match value.as_f64() {
                    Some(secs) if secs > 0.0 && secs <= MOST_TTL_S => ttl = Some(secs),
                    _ => {
                        return bad(format!(
                            "ttl_s is {value}: it must be above 0 and at most {MOST_TTL_S}"
                        ));
                    }
                },
                ("abort_newest", Some(count)) => orders.abort_newest = count as usize,
                ("abort_longest", Some(count)) => orders.abort_longest = count as usize,
                (name, count) => {
                    let Some(lever) = Lever::named(name) else {
                        let known: Vec<&str> = Lever::ALL.iter().map(|lever| lever.name()).collect();
                        return bad(format!(
                            "unknown key `{name}`: the levers are {}, the other keys ttl_s, abort_newest and \
                             abort_longest",
                            known.join(", ")
                        ));
                    };
                    match (count, value) {
                        (Some(count), _) => {
                            let checked = lever.check(count, &shared.config);
                            checked.map_err(|error| ApiError::bad_request(error.to_string()))?;
                            orders.levers.push((lever, Some(count)));
                        }
                        (None, Value::Null) => orders.levers.push((lever, None)),
                        _ => return bad(format!("{name} is {value}: give a whole number, or null")),
                    }
                }
            }
        }
        let moves = orders.levers.iter().any(|(_, value)| value.is_some());
        match ttl {
            Some(secs) => orders.until = shared.clock.now().saturating_add((secs * 1e9) as u64),
            None if moves => {
                return bad("ttl_s is missing: a lever goes back by itself after so many seconds".to_owned());
            }
            None => {}
        }
        Ok(orders)
    }
}

fn change(shared: &Shared, orders: &[(Lever, Option<u64>)], until: u64) {
    let levers = shared.admission.change_levers(|levers| {
        for &(lever, value) in orders {
            match value {
                Some(value) => levers.set(lever, value, until),
                None => levers.reset(lever),
            }
        }
    });
    shared.engines.iter().for_each(|engine| engine.set_levers(levers));
}

/// Ends requests by age and by length; returns how many.
fn abort(shared: &Shared, orders: &Orders) -> usize {
    let newest = end_first(shared, orders.abort_newest, |request| Reverse(request.arrival));
    let longest = end_first(shared, orders.abort_longest, |request| {
        Reverse(u64::from(request.tokens))
    });
    newest + longest
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

fn state(shared: &Shared) -> Map<String, Value> {
    let now = shared.clock.now();
    let moved = shared.admission.levers().moved(now);
    Lever::ALL
        .into_iter()
        .map(|lever| {
            let default = lever.default_value(&shared.config);
            let (least, most) = lever.bounds(&shared.config);
            let setting = moved.iter().find(|setting| setting.lever == lever);
            let state = json!({
                "value": setting.map(|setting| setting.value).or(default),
                "default": default,
                "least": least,
                "most": most,
                "expires_in_s": setting.map(|setting| (setting.until - now) as f64 / 1e9),
            });
            (lever.name().to_owned(), state)
        })
        .collect()
}
