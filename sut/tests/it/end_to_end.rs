//! Complete runs against a server: exit status, LoadGen's log, our table, and the stored record must agree.
//!
//! Always runs against the built-in simulator, and also against a real vLLM if `SUT_REAL_VLLM_URL` is set
//! (`scripts/e2e-real-vllm` starts one).

use crate::support::{Finished, Run};

#[test]
fn simulator_offline() {
    let run = Run::new(&["--scenario", "Offline", "--duration", "2s", "--num-samples", "64"]).finish();
    run.assert_consistent();
    assert!(run.stdout.contains("[SIMULATED]"), "{}", run.stdout);
}

#[test]
fn simulator_server() {
    // 512 queries are enough for LoadGen's early-stopping test; whether the limits are met depends on the
    // machine.
    let run = Run::new(&[
        "--scenario",
        "Server",
        "--duration",
        "5s",
        "--num-samples",
        "64",
        "--target-qps",
        "100",
        "--max-tokens",
        "8",
        "--metrics-collection-interval",
        "0.5",
    ])
    .finish();
    run.assert_consistent();
}

#[test]
fn several_prompts_in_one_request() {
    let flags =
        "--scenario Offline --duration 1s --num-samples 32 --batch-size 5 --print-timing --print-histogram";
    let run = Run::new(&flags.split(' ').collect::<Vec<_>>()).finish();
    run.assert_consistent();
    for part in ["batches: min", "output tokens (n ="] {
        assert!(run.stdout.contains(part), "{part} is missing in\n{}", run.stdout);
    }
    let record = run.record();
    assert!(
        record.batches.len() > 1
            && record
                .batches
                .iter()
                .all(|b| b.requests <= 5 && b.done_ns.is_some())
    );
}

#[test]
fn without_metrics_no_file_is_left() {
    let run = Run::new(&["--duration", "1s", "--num-samples", "32"])
        .without_metrics()
        .finish();
    assert_eq!(run.status, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(!run.metrics_dir().exists());
}

#[test]
fn real_vllm() {
    let Ok(url) = std::env::var("SUT_REAL_VLLM_URL") else {
        println!("SKIPPED: REAL VLLM, BECAUSE SUT_REAL_VLLM_URL IS NOT SET (scripts/e2e-real-vllm sets it)");
        return;
    };
    let common = ["--url", url.as_str(), "--max-tokens", "16", "--concurrency", "32"];
    let mut checked = 0;
    for scenario in [
        &[
            "--scenario",
            "Offline",
            "--duration",
            "2s",
            "--num-samples",
            "64",
            "--target-qps",
            "10",
        ][..],
        &[
            "--scenario",
            "Server",
            "--duration",
            "10s",
            "--num-samples",
            "48",
            "--target-qps",
            "4",
        ][..],
    ] {
        let run: Finished = Run::new(&[&common[..], scenario].concat()).finish();
        run.assert_consistent();
        print!("{}", run.stdout);
        checked += 1;
    }
    println!("real vLLM: {checked} scenarios checked");
}
