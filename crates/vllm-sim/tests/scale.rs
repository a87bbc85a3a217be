//! Thousands of requests over kept connections: exact accounts, a page that does not grow, memory that does not either.
//! Alone in its file, because it looks at the memory of its process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{metric, metrics, start};

const CONNECTIONS: usize = 16;
const REQUESTS: usize = 150;
const TOKENS: usize = 12;

/// Sends requests one after the other over one connection and counts tokens.
fn drive(address: std::net::SocketAddr, first: usize) -> usize {
    let mut socket = TcpStream::connect(address).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut tokens = 0;
    for request in 0..REQUESTS {
        let body = format!(
            "{{\"prompt\":[{},6,7,8],\"max_tokens\":{TOKENS},\"ignore_eos\":true,\"stream\":true,\
             \"return_token_ids\":true}}",
            5 + first * REQUESTS + request
        );
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            let read = socket.read(&mut buffer).unwrap();
            assert!(read > 0, "the connection ended early");
            answer.extend_from_slice(&buffer[..read]);
        }
        tokens += String::from_utf8(answer)
            .unwrap()
            .matches("\"token_ids\":[")
            .count();
    }
    tokens
}

fn wave(address: std::net::SocketAddr) -> usize {
    std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..CONNECTIONS)
            .map(|first| scope.spawn(move || drive(address, first)))
            .collect();
        drivers.into_iter().map(|driver| driver.join().unwrap()).sum()
    })
}

#[test]
fn thousands_of_requests_leave_exact_accounts_and_no_memory_behind() {
    let sim = start(|_| ());
    assert_eq!(wave(sim.address()), CONNECTIONS * REQUESTS * TOKENS);
    let before = metrics(&sim);
    assert_eq!(wave(sim.address()), CONNECTIONS * REQUESTS * TOKENS);
    let after = metrics(&sim);
    assert_eq!(before.len(), after.len(), "the page must not grow with use");

    let moved = |name: &str| metric(&after, name) - metric(&before, name);
    let requests = (CONNECTIONS * REQUESTS) as f64;
    assert_eq!(moved("vllm:generation_tokens_total"), requests * TOKENS as f64);
    assert_eq!(moved("vllm:prompt_tokens_total"), requests * 4.0);
    for histogram in [
        "vllm:request_prompt_tokens",
        "vllm:request_generation_tokens",
        "vllm:request_params_n",
        "vllm:request_params_max_tokens",
        "vllm:time_to_first_token_seconds",
        "vllm:request_time_per_output_token_seconds",
        "vllm:e2e_request_latency_seconds",
        "vllm:request_queue_time_seconds",
        "vllm:request_inference_time_seconds",
        "vllm:request_prefill_time_seconds",
        "vllm:request_decode_time_seconds",
        "vllm:request_num_preemptions",
        "vllm:request_prefill_kv_computed_tokens",
    ] {
        assert_eq!(moved(&format!("{histogram}_count")), requests, "{histogram}");
    }
    assert_eq!(
        moved("vllm:inter_token_latency_seconds_count"),
        requests * (TOKENS - 1) as f64
    );

    let grown = after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"];
    assert!(
        grown < 8e6,
        "{CONNECTIONS} times {REQUESTS} requests left {grown} bytes behind"
    );
}
