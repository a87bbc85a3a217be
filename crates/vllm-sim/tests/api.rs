//! The OpenAI routes and the control routes, byte by byte as a client sees them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::{Value, json};
use support::{get, metric, metrics, post, send, start, until};
use vllm_sim::{EOS_TOKEN, OutputLength, ReferenceAnswer, StepModel};

fn ids(value: &Value) -> Vec<u64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap())
        .collect()
}

#[test]
fn a_streamed_completion_has_a_chunk_per_token_and_exact_accounts() {
    let sim = start(|c| c.per_request_metrics = true);
    let before = metrics(&sim);
    let body = json!({"model":"m","prompt":[5,6,7],"max_tokens":8,"stream":true,"return_token_ids":true,
        "stream_options":{"include_usage":true,"continuous_usage_stats":true}});
    let reply = post(&sim, "/v1/completions", &body.to_string());
    assert_eq!(
        (reply.status, reply.headers["content-type"].as_str()),
        (200, "text/event-stream; charset=utf-8")
    );
    let events = reply.events();
    let (usage, chunks) = events.split_last().unwrap();
    assert_eq!(chunks.len(), 8);
    assert_eq!(ids(&chunks[0]["choices"][0]["prompt_token_ids"]), [5, 6, 7]);
    for (at, chunk) in chunks.iter().enumerate() {
        assert_eq!(ids(&chunk["choices"][0]["token_ids"]).len(), 1);
        assert_eq!(chunk["usage"]["completion_tokens"], at + 1);
        assert_eq!(
            chunk["choices"][0]["finish_reason"],
            if at == 7 { json!("length") } else { Value::Null }
        );
        assert_eq!(chunk["object"], "text_completion");
    }
    assert!(chunks[1]["choices"][0]["prompt_token_ids"].is_null());
    assert_eq!(
        usage["usage"],
        json!({"prompt_tokens":3,"total_tokens":11,"completion_tokens":8})
    );
    assert_eq!(usage["choices"], json!([]));
    for key in [
        "time_to_first_token_ms",
        "generation_time_ms",
        "queue_time_ms",
        "mean_itl_ms",
        "tokens_per_second",
    ] {
        assert!(usage["metrics"][key].is_f64(), "{key}");
    }
    let after = metrics(&sim);
    let moved = |name| metric(&after, name) - metric(&before, name);
    assert_eq!(moved("vllm:generation_tokens_total"), 8.0);
    assert_eq!(moved("vllm:prompt_tokens_total"), 3.0);
    assert_eq!(moved("vllm:e2e_request_latency_seconds_count"), 1.0);
    assert_eq!(
        after["vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"m\"}"],
        1.0
    );
    assert_eq!(
        after["http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"2xx\"}"],
        1.0
    );
}

#[test]
fn the_same_answer_comes_streamed_whole_and_from_another_server_of_the_same_seed() {
    let (one, two) = (start(|_| ()), start(|c| c.http_threads = 2));
    let body = |stream| {
        json!({"prompt":[50,60,70],"max_tokens":50,"stream":stream,"return_token_ids":true}).to_string()
    };
    let streamed: Vec<u64> = post(&one, "/v1/completions", &body(true))
        .events()
        .iter()
        .flat_map(|e| ids(&e["choices"][0]["token_ids"]))
        .collect();
    let whole = post(&two, "/v1/completions", &body(false)).json();
    assert_eq!(ids(&whole["choices"][0]["token_ids"]), streamed);
    assert_eq!(ids(&whole["choices"][0]["prompt_token_ids"]), [50, 60, 70]);
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert_eq!(streamed.len(), 12);
    assert_eq!(streamed[11], u64::from(EOS_TOKEN));
    assert_eq!(whole["usage"]["completion_tokens"], 12);
}

#[test]
fn chat_streams_a_role_then_content() {
    let sim = start(|_| ());
    let body = json!({"model":"m","messages":[{"role":"user","content":"Hello there"}],"stream":true,
        "return_token_ids":true,"stream_options":{"include_usage":true}});
    let events = post(&sim, "/v1/chat/completions", &body.to_string()).events();
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role":"assistant","content":""})
    );
    assert!(!ids(&events[0]["prompt_token_ids"]).is_empty());
    assert_eq!(events[0]["object"], "chat.completion.chunk");
    let tokens: usize = events[1..13]
        .iter()
        .map(|e| ids(&e["choices"][0]["token_ids"]).len())
        .sum();
    assert_eq!(tokens, 12);
    assert_eq!(events[12]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[13]["usage"]["completion_tokens"], 12);

    let body = json!({"messages":[{"role":"user","content":"Hello there"}]});
    let whole = post(&sim, "/v1/chat/completions", &body.to_string()).json();
    let text: String = events[1..13]
        .iter()
        .map(|e| e["choices"][0]["delta"]["content"].as_str().unwrap())
        .collect();
    assert_eq!(whole["choices"][0]["message"]["content"], text);
    assert_eq!(whole["object"], "chat.completion");
}

#[test]
fn a_list_of_prompts_is_answered_by_index() {
    let sim = start(|_| ());
    let one = post(
        &sim,
        "/v1/completions",
        r#"{"prompt":[9,9],"return_token_ids":true}"#,
    )
    .json();
    let many = post(
        &sim,
        "/v1/completions",
        r#"{"prompt":[[5],[9,9],[7]],"return_token_ids":true}"#,
    )
    .json();
    assert_eq!(many["choices"][1]["token_ids"], one["choices"][0]["token_ids"]);
    assert_eq!(
        many["usage"],
        json!({"prompt_tokens":4,"total_tokens":40,"completion_tokens":36})
    );
    let streamed = post(&sim, "/v1/completions", r#"{"prompt":["a","b"],"stream":true}"#).events();
    let finished: Vec<_> = streamed
        .iter()
        .filter(|e| !e["choices"][0]["finish_reason"].is_null())
        .map(|e| &e["choices"][0]["index"])
        .collect();
    assert_eq!(finished.len(), 2);
    assert!(streamed[0].get("usage").is_none());
}

#[test]
fn a_stream_interval_groups_tokens_but_not_the_first() {
    let sim = start(|c| c.stream_interval = 5);
    let body = r#"{"prompt":[5],"max_tokens":12,"stream":true,"return_token_ids":true,"ignore_eos":true}"#;
    let sizes: Vec<usize> = post(&sim, "/v1/completions", body)
        .events()
        .iter()
        .map(|e| ids(&e["choices"][0]["token_ids"]).len())
        .collect();
    assert_eq!(sizes, [1, 5, 5, 1]);
}

#[test]
fn known_prompts_get_their_reference_answers() {
    let reference = ReferenceAnswer {
        prompt_token_ids: vec![10, 11, 12],
        output_token_ids: vec![100, 200, 300, 400],
    };
    let sim = start(|c| c.references = [reference].into());
    let body = |max: u32| json!({"prompt":[10,11,12],"max_tokens":max,"return_token_ids":true}).to_string();
    let whole = post(&sim, "/v1/completions", &body(100)).json();
    assert_eq!(ids(&whole["choices"][0]["token_ids"]), [100, 200, 300, 400]);
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    let cut = post(&sim, "/v1/completions", &body(2)).json();
    assert_eq!(ids(&cut["choices"][0]["token_ids"]), [100, 200]);
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
}

#[test]
fn errors_have_the_shape_of_the_api() {
    let sim = start(|_| ());
    for (path, body, status) in [
        ("/v1/completions", "{", 400),
        ("/v1/completions", r#"{"model":"other","prompt":[5]}"#, 404),
        ("/v1/completions", r#"{"prompt":[]}"#, 400),
        ("/v1/chat/completions", "{}", 400),
        ("/nowhere", "{}", 404),
        ("/metrics", "{}", 405),
    ] {
        let reply = post(&sim, path, body);
        assert_eq!(reply.status, status, "{path} {body}");
        let error = &reply.json()["error"];
        assert_eq!(error["code"], status);
        assert!(error["message"].is_string() && error["type"].is_string());
    }
    let page = metrics(&sim);
    assert_eq!(
        page["http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"4xx\"}"],
        3.0
    );
    assert_eq!(
        page["http_requests_total{handler=\"none\",method=\"POST\",status=\"4xx\"}"],
        1.0
    );
}

#[test]
fn overload_is_503_and_counted_and_passes() {
    let sim = start(|c| {
        c.max_num_queued_reqs = Some(2);
        c.max_num_queued_tokens = Some(100);
    });
    post(&sim, "/pause?mode=keep", "");
    let body = r#"{"prompt":[5,6],"stream":true}"#;
    let held: Vec<_> = (0..2)
        .map(|_| send(&sim, "POST", "/v1/completions", "", body).unwrap())
        .collect();
    until("both are queued", || {
        get(&sim, "/load").json()["server_load"] == 2
    });
    let reply = post(&sim, "/v1/completions", body);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &json!(503)));
    post(&sim, "/resume", "");
    for call in held {
        assert_eq!(call.finish().unwrap().events().len(), 12);
    }
    assert_eq!(post(&sim, "/v1/completions", body).status, 200);
    let long = json!({"prompt": vec![5; 101]}).to_string();
    assert_eq!(post(&sim, "/v1/completions", &long).status, 503);
    let page = metrics(&sim);
    for reason in ["max_num_queued_reqs", "max_num_queued_tokens"] {
        assert_eq!(
            page[&format!("vllm:admission_rejections_total{{model_name=\"m\",reason=\"{reason}\"}}")],
            1.0
        );
    }
}

#[test]
fn a_client_that_hangs_up_frees_its_request() {
    let sim = start(|c| {
        c.engine.step = StepModel {
            fixed_ns: 1e6,
            ..StepModel::INSTANT
        };
        c.engine.output_length = OutputLength::Fixed(1_000_000);
    });
    let body = r#"{"prompt":[5,6],"max_tokens":100000,"stream":true}"#;
    let mut call = send(&sim, "POST", "/v1/completions", "", body).unwrap();
    assert_eq!(call.head().unwrap().0, 200);
    call.chunk().unwrap();
    assert_eq!(metric(&metrics(&sim), "vllm:num_requests_running"), 1.0);
    drop(call);
    until("the request is dropped", || {
        let page = metrics(&sim);
        metric(&page, "vllm:num_requests_running") == 0.0 && metric(&page, "vllm:kv_cache_usage_perc") == 0.0
    });
    let whole = r#"{"prompt":[5,6],"max_tokens":100000}"#;
    let call = send(&sim, "POST", "/v1/completions", "", whole).unwrap();
    until("it runs", || {
        metric(&metrics(&sim), "vllm:num_requests_running") == 1.0
    });
    drop(call);
    until("it is dropped", || {
        metric(&metrics(&sim), "vllm:num_requests_running") == 0.0
    });
}

#[test]
fn small_routes_answer() {
    let sim = start(|_| ());
    assert_eq!(get(&sim, "/health").status, 200);
    assert_eq!(get(&sim, "/version").json()["version"], "0.32.0+simulated");
    let models = get(&sim, "/v1/models").json();
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(models["data"][0]["max_model_len"], 131_072);
    for path in ["/start_profile", "/stop_profile"] {
        assert_eq!(post(&sim, path, "").status, 200);
    }
    assert_eq!(post(&sim, "/reset_prefix_cache", "").json()["success"], true);
    assert_eq!(get(&sim, "/is_paused").json()["is_paused"], false);
}

#[test]
fn a_request_id_is_kept() {
    let sim = start(|_| ());
    let reply = send(
        &sim,
        "POST",
        "/v1/completions",
        "X-Request-Id: a\"b-7\r\n",
        r#"{"prompt":[5]}"#,
    );
    let reply = reply.unwrap().finish().unwrap();
    assert_eq!(reply.json()["id"], "cmpl-a\"b-7");
    assert_eq!(reply.headers["x-request-id"], "a\"b-7");
}

#[test]
fn one_connection_serves_many_requests() {
    use std::io::{Read, Write};
    let sim = start(|_| ());
    let mut socket = std::net::TcpStream::connect(sim.address()).unwrap();
    for _ in 0..3 {
        socket
            .write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut buffer = [0; 512];
        let read = socket.read(&mut buffer).unwrap();
        assert!(buffer[..read].ends_with(b"{\"version\":\"0.32.0+simulated\"}"));
    }
}

#[test]
fn stop_ends_everything_and_frees_the_port() {
    let sim = start(|c| c.engine.output_length = OutputLength::Fixed(1_000_000));
    let address = sim.address();
    post(&sim, "/pause?mode=keep", "");
    let call = send(
        &sim,
        "POST",
        "/v1/completions",
        "",
        r#"{"prompt":[5],"stream":true}"#,
    )
    .unwrap();
    until("it is queued", || get(&sim, "/load").json()["server_load"] == 1);
    sim.stop();
    assert!(call.finish().map_or(true, |reply| reply.cut));
    assert!(std::net::TcpStream::connect(address).is_err());
}
