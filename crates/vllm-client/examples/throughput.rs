//! What the client costs: requests and tokens per CPU second, streaming from a simulated server in the same process.
//!
//! `cargo run --release -p vllm-client --example throughput -- IN_FLIGHT TOKENS SECONDS [QPS]`
//!
//! Without QPS, each of IN_FLIGHT slots starts its next request as soon as one is done; with it, requests
//! start at an even pace regardless of those in flight. The client runs on one thread, whose CPU time is
//! reported.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement by hand, not a program for users"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vllm_client::{Client, ClientConfig, RequestBody};
use vllm_sim::{EngineConfig, SimConfig, Simulator};

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let [in_flight, tokens, seconds, rest @ ..] = arguments.as_slice() else {
        panic!("usage: throughput IN_FLIGHT TOKENS SECONDS [QPS]")
    };
    let engine = if rest.is_empty() {
        EngineConfig::instant()
    } else {
        EngineConfig::h100_8b()
    };
    let sim = Simulator::start(SimConfig {
        engine,
        ..SimConfig::default()
    })
    .unwrap();
    let client = Client::new(ClientConfig::new(sim.url())).unwrap();
    let prompt: Vec<i32> = (5..100).collect();
    let model = SimConfig::default().model;
    let most = u32::try_from(*tokens).unwrap();
    let body = RequestBody::from_token_ids(model, &prompt)
        .max_tokens(most)
        .ignore_eos(true)
        .build();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let counts: Arc<[AtomicU64; 3]> = Arc::default();
    let late_ns = Arc::new(std::sync::Mutex::new(Vec::new()));
    let start = Instant::now();
    let end = start + Duration::from_secs(*seconds);
    let cpu_before = cpu_secs();
    runtime.block_on(async {
        let counts = Arc::clone(&counts);
        let one = move || {
            let (client, body, counts) = (client.clone(), body.clone(), Arc::clone(&counts));
            async move {
                match client.complete(body, |_| {}).await {
                    Ok(done) => {
                        counts[0].fetch_add(1, Ordering::Relaxed);
                        counts[1].fetch_add(done.n_tokens() as u64, Ordering::Relaxed);
                    }
                    Err(error) => {
                        if counts[2].fetch_add(1, Ordering::Relaxed) == 0 {
                            println!("first failure: {error}");
                        }
                    }
                }
            }
        };
        let mut tasks = Vec::new();
        if let Some(qps) = rest.first() {
            let pace = Duration::from_secs_f64(1.0 / *qps as f64);
            let mut due = start;
            while due < end {
                tokio::time::sleep_until(due.into()).await;
                // The timer has a resolution of 1 ms: start all that are due.
                let now = Instant::now();
                while due <= now {
                    late_ns.lock().unwrap().push((now - due).as_nanos() as u64);
                    tasks.push(tokio::spawn(one()));
                    due += pace;
                }
            }
        } else {
            for _ in 0..*in_flight {
                let one = one.clone();
                tasks.push(tokio::spawn(async move {
                    while Instant::now() < end {
                        one().await;
                    }
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_secs() - cpu_before);
    let [requests, tokens, failed] = [0, 1, 2].map(|i| counts[i].load(Ordering::Relaxed) as f64);
    println!(
        "requests/s {:.0}  tokens/s {:.0}  failed {failed}  wall {wall:.1} s",
        requests / wall,
        tokens / wall
    );
    println!(
        "client CPU {cpu:.2} s: {:.0} requests and {:.0} tokens per CPU second",
        requests / cpu,
        tokens / cpu
    );
    let mut late = late_ns.lock().unwrap();
    if !late.is_empty() {
        late.sort_unstable();
        let at = |q: f64| late[((late.len() - 1) as f64 * q) as usize] as f64 / 1e3;
        println!(
            "start behind schedule: p50 {:.0} us, p99 {:.0} us",
            at(0.5),
            at(0.99)
        );
    }
    sim.stop();
}

/// User and system time of this thread.
fn cpu_secs() -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedstat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
