//! What the server costs: requests and tokens per second, and per CPU second of its own threads.
//!
//! `cargo run --release -p vllm-sim --example server_throughput -- CONNECTIONS TOKENS SECONDS [QPS [SPEED]]`
//!
//! A bare client in the same process keeps each connection busy (or, with QPS, starts requests at an even pace) and
//! only counts events; the server's share of the CPU is read from its threads' own accounts.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement by hand, not a program for users"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vllm_sim::{EngineConfig, SimConfig, Simulator};

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    tokens: AtomicU64,
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let [connections, tokens, seconds, rest @ ..] = arguments.as_slice() else {
        panic!("usage: throughput CONNECTIONS TOKENS SECONDS [QPS]")
    };
    let paced = EngineConfig {
        speed_ratio: rest.get(1).map_or(1.0, |speed| *speed as f64),
        ..EngineConfig::h100_8b()
    };
    let engine = if rest.is_empty() {
        EngineConfig::instant()
    } else {
        paced
    };
    let sim = Simulator::start(SimConfig {
        engine,
        ..SimConfig::default()
    })
    .unwrap();
    let counts = Arc::new(Counts::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let start = Instant::now();
    let end = start + Duration::from_secs(*seconds);
    runtime.block_on(async {
        let pace = rest.first().map(|qps| Duration::from_secs_f64(1.0 / *qps as f64));
        let next = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..*connections)
            .map(|number| {
                let (counts, next, address, tokens) =
                    (Arc::clone(&counts), Arc::clone(&next), sim.address(), *tokens);
                tokio::spawn(async move {
                    let mut socket = TcpStream::connect(address).await.unwrap();
                    socket.set_nodelay(true).unwrap();
                    let mut buffer = vec![0; 1 << 16];
                    while Instant::now() < end {
                        let turn = next.fetch_add(1, Ordering::Relaxed);
                        if let Some(pace) = pace {
                            tokio::time::sleep_until((start + pace * turn as u32).into()).await;
                        }
                        let body = format!(
                            "{{\"prompt\":[{},6,7,8,9,10,11,12],\"max_tokens\":{tokens},\"ignore_eos\":true,\
                             \"stream\":true,\"return_token_ids\":true}}",
                            5 + number
                        );
                        let head = format!(
                            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                            body.len()
                        );
                        socket.write_all((head + &body).as_bytes()).await.unwrap();
                        let mut seen = 0;
                        loop {
                            let read = socket.read(&mut buffer).await.unwrap();
                            seen += buffer[..read].windows(10).filter(|w| w == b"token_ids\"").count() as u64;
                            if buffer[..read].ends_with(b"0\r\n\r\n") || read == 0 {
                                break;
                            }
                        }
                        counts.requests.fetch_add(1, Ordering::Relaxed);
                        counts.tokens.fetch_add(seen / 2, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let wall = start.elapsed().as_secs_f64();
    let cpu = server_cpu_secs();
    let (requests, tokens) = (
        counts.requests.load(Ordering::Relaxed),
        counts.tokens.load(Ordering::Relaxed),
    );
    println!(
        "requests/s {:.0}  tokens/s {:.0}  wall {wall:.1} s",
        requests as f64 / wall,
        tokens as f64 / wall
    );
    println!(
        "server CPU {cpu:.2} s: {:.0} requests and {:.0} tokens per CPU second",
        requests as f64 / cpu,
        tokens as f64 / cpu
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "{}",
        status.lines().find(|line| line.starts_with("VmHWM")).unwrap()
    );
    sim.stop();
}

/// User and system time of the threads whose names start with `sim-`.
fn server_cpu_secs() -> f64 {
    let mut total = 0.0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if !std::fs::read_to_string(path.join("comm"))
            .unwrap()
            .starts_with("sim-")
        {
            continue;
        }
        let schedstat = std::fs::read_to_string(path.join("schedstat")).unwrap();
        total += schedstat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9;
    }
    total
}
