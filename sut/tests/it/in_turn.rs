//! Runs in sequence: one server for all of them, and a signal that ends them gracefully.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::Run;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server that must be started is started once, used by every run, and gone at the end.
#[test]
fn one_server_serves_all_runs() {
    let sut = env!("CARGO_BIN_EXE_sut");
    let serve = format!(
        "sh -c 'echo started >>starts; exec \"$0\" sim --port \"$1\" --served-model-name \"$2\" \
         --no-enable-prefix-caching' {sut} {{port}} {{model}}"
    );
    let run = Run::new(&[
        "--test-mode",
        "both",
        "--compliance",
        "TEST06",
        "--model",
        "tiny",
        "--serve-command",
        &serve,
        "--num-samples",
        "16",
        "--duration",
        "1s",
        "--target-qps",
        "50",
    ])
    .without_metrics();
    let starts = run.folder().join("starts");
    let done = run.finish();
    assert_eq!(
        std::fs::read_to_string(starts).unwrap(),
        "started\n",
        "{}",
        done.shown()
    );
    for kind in ["performance", "accuracy", "TEST06"] {
        assert!(
            done.stdout.contains(&format!("== {kind} run")),
            "{}",
            done.shown()
        );
    }
    assert!(done.stdout.contains("TEST06 PASSED"), "{}", done.shown());
    let environment = std::fs::read_to_string(done.log_dir().join("accuracy/environment.json")).unwrap();
    assert!(!environment.contains("handed"), "{environment}");
    let log = std::fs::read_to_string(done.log_dir().join("vllm_server.log")).unwrap();
    let url = log
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "{url} is still served"
    );
}

/// A signal to the parent ends the current run gracefully, and the next run is not started.
#[test]
fn a_signal_ends_runs_in_turn() {
    let run =
        Run::new(&["--test-mode", "both", "--duration", "300s", "--num-samples", "32"]).without_metrics();
    let child = run
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    // LoadGen has opened its logs, so the first run is in progress.
    let log = run
        .folder()
        .join("mlperf_logs/performance/run_1/mlperf_log_detail.txt");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !log.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(pid, Signal::SIGTERM).unwrap();
    let done = run.ended(child);
    assert_eq!(done.status, Some(4), "{}", done.shown());
    assert!(done.stdout.contains("SIGTERM was received"), "{}", done.shown());
    assert!(
        done.stdout.contains("performance    ABORTED (exit 4)"),
        "{}",
        done.shown()
    );
    assert!(!done.log_dir().join("accuracy").exists());
}
