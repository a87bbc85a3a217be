//! The routes that act on the server: who may call them, and what they do to requests in flight.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::{Value, json};
use support::{Call, Reply, TOKEN, control, get, metric, metrics, post, send, start, until};
use vllm_sim::{OutputLength, Simulator, StepModel};

const ENDLESS: &str = r#"{"prompt":[5,6],"max_tokens":100000,"stream":true}"#;

/// Steps of one millisecond, answers that do not end.
fn busy() -> Simulator {
    start(|c| {
        c.engine.step = StepModel {
            fixed_ns: 1e6,
            ..StepModel::INSTANT
        };
        c.engine.output_length = OutputLength::Fixed(1_000_000);
        c.enable_sleep_mode = true;
    })
}

/// A stream of which the first chunk has come.
fn running(sim: &Simulator) -> Call {
    let mut call = send(sim, "POST", "/v1/completions", "", ENDLESS).unwrap();
    assert_eq!(call.head().unwrap().0, 200);
    call.chunk().unwrap();
    call
}

/// The finish reason with which a stream ends.
fn finish_reason(mut call: Call) -> String {
    let mut text = String::new();
    loop {
        let chunk = call.chunk().unwrap();
        if chunk.is_empty() {
            break;
        }
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.trim_end().ends_with("data: [DONE]"));
    let reasons = text.split("\n\n").filter_map(|event| {
        let chunk: Value = serde_json::from_str(event.strip_prefix("data: ")?).ok()?;
        chunk["choices"][0]["finish_reason"].as_str().map(str::to_owned)
    });
    reasons.last().unwrap()
}

fn set(sim: &Simulator, lever: &str, value: u64, ttl_seconds: f64) -> Reply {
    let body = json!({ "value": value, "ttl_seconds": ttl_seconds });
    control(
        sim,
        "POST",
        &format!("/v1/monitor/levers/{lever}"),
        &body.to_string(),
    )
}

fn lever(sim: &Simulator, name: &str) -> Value {
    let all = control(sim, "GET", "/v1/monitor/levers", "").json();
    let levers = all["levers"].as_array().unwrap();
    levers.iter().find(|lever| lever["name"] == name).unwrap().clone()
}

#[test]
fn controls_without_the_token_are_refused_and_change_nothing() {
    let sim = busy();
    for path in [
        "/sim/faults",
        "/v1/monitor/levers",
        "/v1/monitor/levers/drain",
        "/v1/monitor/abort",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let refused = send(&sim, method, path, "", "status").unwrap().finish().unwrap();
            assert_eq!(refused.status, 401, "{method} {path}");
        }
    }
    assert_eq!(control(&sim, "GET", "/sim/faults", "").text(), "");
    let closed = start(|c| c.control_token = None);
    assert_eq!(control(&closed, "POST", "/sim/faults", "die").status, 403);
}

#[test]
fn a_page_of_another_site_reaches_nothing() {
    let sim = busy();
    let from_page = format!("X-Monitor-Token: {TOKEN}\r\nOrigin: http://evil.example\r\n");
    for path in ["/sim/faults", "/v1/monitor/levers", "/pause", "/v1/completions"] {
        let reply = send(&sim, "POST", path, &from_page, "die")
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(reply.status, 403, "{path}");
    }
    // A name of the page's own that points to this address.
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(sim.address()).unwrap();
    socket
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("--allowed-host"), "{answer}");
}

#[test]
fn the_development_routes_exist_in_development_mode_only() {
    let sim = start(|c| c.dev_mode = false);
    for path in [
        "/pause",
        "/resume",
        "/sleep",
        "/reset_prefix_cache",
        "/abort_requests",
    ] {
        assert_eq!(post(&sim, path, "").status, 404, "{path}");
    }
    assert_eq!(get(&sim, "/server_info").status, 404);
}

#[test]
fn a_pause_aborts_waits_or_keeps() {
    let sim = busy();
    let call = running(&sim);
    assert_eq!(post(&sim, "/pause", "").json()["status"], "paused");
    assert_eq!(finish_reason(call), "abort");
    assert_eq!(get(&sim, "/is_paused").json()["is_paused"], true);
    let page = metrics(&sim);
    let aborted = "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=\"m\"}";
    assert_eq!(page[aborted], 1.0);
    post(&sim, "/resume", "");

    let kept = running(&sim);
    post(&sim, "/pause?mode=keep", "");
    assert_eq!(metric(&metrics(&sim), "vllm:num_requests_running"), 1.0);
    post(&sim, "/resume", "");
    drop(kept);

    let short = r#"{"prompt":[7,8],"max_tokens":1000}"#;
    let call = send(&sim, "POST", "/v1/completions", "", short).unwrap();
    until("it runs", || {
        metric(&metrics(&sim), "vllm:num_requests_running") == 1.0
    });
    post(&sim, "/pause?mode=wait", "");
    assert_eq!(
        call.finish().unwrap().json()["choices"][0]["finish_reason"],
        "length"
    );
    assert_eq!(post(&sim, "/pause?mode=maybe", "").status, 400);
}

#[test]
fn sleep_gives_the_cache_up_and_wake_up_brings_it_back() {
    let sim = busy();
    let call = running(&sim);
    assert_eq!(post(&sim, "/sleep?level=2&mode=keep", "").status, 200);
    assert_eq!(get(&sim, "/is_sleeping").json()["is_sleeping"], true);
    let state = |sim: &Simulator, state: &str| {
        metrics(sim)
            [&format!("vllm:engine_sleep_state{{engine=\"0\",model_name=\"m\",sleep_state=\"{state}\"}}")]
    };
    assert_eq!(state(&sim, "discard_all"), 1.0);
    assert_eq!(metric(&metrics(&sim), "vllm:kv_cache_usage_perc"), 0.0);
    post(&sim, "/wake_up?tags=weights", "");
    assert_eq!(get(&sim, "/is_sleeping").json()["is_sleeping"], true);
    post(&sim, "/wake_up?tags=kv_cache", "");
    assert_eq!(state(&sim, "awake"), 1.0);
    until("it runs again", || {
        metric(&metrics(&sim), "vllm:num_requests_running") == 1.0
    });
    assert_eq!(metric(&metrics(&sim), "vllm:num_preemptions_total"), 1.0);
    drop(call);
    let plain = start(|_| ());
    assert_eq!(post(&plain, "/sleep", "").status, 400);
}

#[test]
fn requests_are_aborted_by_id_or_all() {
    let sim = busy();
    let named = {
        let header = "X-Request-Id: seven\r\n";
        let mut call = send(&sim, "POST", "/v1/completions", header, ENDLESS).unwrap();
        call.head().unwrap();
        call.chunk().unwrap();
        call
    };
    let other = running(&sim);
    let reply = post(
        &sim,
        "/abort_requests",
        r#"{"request_ids":["cmpl-seven","cmpl-none"]}"#,
    );
    assert_eq!(reply.json()["aborted"], 1);
    assert_eq!(finish_reason(named), "abort");
    assert_eq!(post(&sim, "/abort_requests", "{}").json()["aborted"], 1);
    assert_eq!(finish_reason(other), "abort");
}

#[test]
fn levers_limit_for_a_time_and_are_read_back() {
    let sim = busy();
    assert_eq!(
        lever(&sim, "max_num_active_reqs"),
        json!({"name": "max_num_active_reqs", "value": 1024, "least": 1, "most": 1024})
    );
    let answer = set(&sim, "max_num_active_reqs", 1, 3600.0).json();
    assert_eq!(
        answer,
        json!({"name": "max_num_active_reqs", "value": 1, "before": 1024, "seconds_left": 3600.0})
    );
    set(&sim, "max_num_queued_reqs", 2, 3600.0);
    assert_eq!(lever(&sim, "max_num_queued_reqs")["before"], Value::Null);
    let (first, second) = (
        running(&sim),
        send(&sim, "POST", "/v1/completions", "", ENDLESS).unwrap(),
    );
    until("the second waits", || {
        metric(&metrics(&sim), "vllm:num_requests_waiting") == 1.0
    });
    assert_eq!(metric(&metrics(&sim), "vllm:num_requests_running"), 1.0);
    assert_eq!(post(&sim, "/v1/completions", ENDLESS).status, 503);

    // The newest is the one that waits; it has no token yet and still gets an end.
    let aborted = control(
        &sim,
        "POST",
        "/v1/monitor/abort",
        r#"{"which": "newest", "count": 1}"#,
    );
    assert_eq!(aborted.json(), json!({"aborted": 1}));
    assert_eq!(
        second.finish().unwrap().events().last().unwrap()["choices"][0]["finish_reason"],
        "abort"
    );
    drop(first);
    let reset = control(&sim, "DELETE", "/v1/monitor/levers/max_num_active_reqs", "").json();
    assert_eq!(
        reset,
        json!({"name": "max_num_active_reqs", "value": 1024, "before": 1, "seconds_left": null})
    );

    set(&sim, "drain", 1, 0.05);
    until("the drain has ended by itself", || {
        get(&sim, "/health").status == 200
    });
}

#[test]
fn a_drained_server_is_unready_and_still_serves() {
    let sim = start(|_| ());
    set(&sim, "drain", 1, 3600.0);
    assert_eq!(get(&sim, "/health").status, 503);
    assert_eq!(post(&sim, "/v1/completions", r#"{"prompt":[5]}"#).status, 200);
}

#[test]
fn a_wrong_lever_changes_nothing_and_is_named() {
    let sim = busy();
    let path = "/v1/monitor/levers/max_num_active_reqs";
    for (body, named) in [
        (r#"{"ttl_seconds": 5}"#, "value"),
        (r#"{"value": 0}"#, "max_num_active_reqs"),
        (r#"{"value": 1.5}"#, "whole number"),
        (r#"{"value": 1, "ttl_seconds": 0}"#, "ttl_seconds"),
        (r#"{"value": 1, "ttl_seconds": 1e9}"#, "ttl_seconds"),
        ("1", "JSON object"),
    ] {
        let reply = control(&sim, "POST", path, body);
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.text().contains(named), "{}", reply.text());
    }
    assert_eq!(set(&sim, "max_num_seqs", 1, 5.0).status, 404);
    assert_eq!(
        control(&sim, "POST", "/v1/monitor/abort", r#"{"count": 1}"#).status,
        400
    );
    assert!(lever(&sim, "max_num_active_reqs").get("seconds_left").is_none());
}

#[test]
fn the_configuration_is_told_under_vllms_names() {
    let sim = busy();
    let info = get(&sim, "/server_info?config_format=json").json();
    assert_eq!(info["vllm_config"]["scheduler_config"]["max_num_seqs"], 1024);
    assert_eq!(info["simulated"], true);
}

#[test]
fn half_a_request_does_not_hold_a_connection() {
    use std::io::{Read, Write};
    let sim = start(|c| c.request_timeout = std::time::Duration::from_millis(50));
    let half_head = "GET /health HTTP/1.1\r\nHost: loc";
    let half_body = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    for half in [half_head, half_body] {
        let mut socket = std::net::TcpStream::connect(sim.address()).unwrap();
        socket.write_all(half.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Returns only because the server closes.
        socket.read_to_end(&mut answer).unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
}
