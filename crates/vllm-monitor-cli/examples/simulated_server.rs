//! A simulated vLLM as a process: it logs the phases of a start as vLLM 0.32 does, serves, and ends at SIGTERM.
//!
//! ```text
//! simulated_server serve MODEL --port PORT [--phase-ms 100] [--slow]
//! ```
//!
//! A line `exit CODE` on standard input ends it, as an engine that died would; `hang` freezes its engine. `--slow` decodes
//! one request at a time, for seconds. Everything that it serves is SIMULATED.
#![allow(clippy::print_stdout, reason = "its log is its output")]

use std::io::BufRead as _;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use vllm_sim::{EngineConfig, OutputLength, SimConfig, Simulator};

/// The log of a start, in order.
const PHASES: &[&str] = &[
    "INFO [core.py:77] Initializing a V1 LLM engine (v0.32.0) with config: model='simulated'",
    "INFO [gpu_model_runner.py:2] Starting to load model simulated...",
    "INFO [default_loader.py:3] Loading weights took 0.10 seconds",
    "INFO [gpu_model_runner.py:4] Model loading took 14.9 GiB memory and 0.2 seconds",
    "INFO [kv_cache_utils.py:5] GPU KV cache size: 299,584 tokens",
    "INFO [gpu_model_runner.py:6] Graph capturing finished in 1 secs, took 0.5 GiB",
    "INFO [api_server.py:7] Starting vLLM API server 0 on http://127.0.0.1",
];

fn value<'a>(words: &'a [String], flag: &str) -> Option<&'a str> {
    let place = words.iter().position(|word| word == flag)?;
    words.get(place + 1).map(String::as_str)
}

fn engine(words: &[String]) -> EngineConfig {
    if words.iter().any(|word| word == "--slow") {
        EngineConfig {
            output_length: OutputLength::Fixed(1900),
            speed_ratio: 0.2,
            max_num_seqs: 1,
            ..EngineConfig::tiny_cpu()
        }
    } else {
        EngineConfig::instant()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().collect();
    let mut term = signal(SignalKind::terminate())?;
    let port: u16 = value(&words, "--port").unwrap_or("8000").parse()?;
    let pause = Duration::from_millis(value(&words, "--phase-ms").unwrap_or("100").parse()?);
    for line in PHASES {
        println!("{line}");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = term.recv() => return Ok(()),
        }
    }
    let simulator = Simulator::start(SimConfig {
        listen: format!("127.0.0.1:{port}").parse()?,
        engine: engine(&words),
        ..SimConfig::default()
    })?;
    println!("INFO:     Application startup complete.");
    let (hang, mut hangs) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some(code) = line.strip_prefix("exit ").and_then(|code| code.parse().ok()) {
                #[allow(clippy::exit, reason = "it ends as a server does whose engine has died")]
                std::process::exit(code);
            }
            if line == "hang" {
                let _ended = hang.blocking_send(());
            }
        }
    });
    loop {
        tokio::select! {
            _ = term.recv() => break,
            Some(()) = hangs.recv() => simulator.set_hung(true),
        }
    }
    println!("INFO [launcher.py:8] [shutdown] API server: shutdown triggered");
    simulator.stop();
    Ok(())
}
