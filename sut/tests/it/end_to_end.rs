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
    assert_energy(&run);
}

/// The line about energy, computed again from the stored samples and requests.
fn assert_energy(run: &Finished) {
    let line = run.stdout.lines().find(|line| line.contains("energy of 1 GPU:"));
    let line = line.unwrap_or_else(|| panic!("no line about energy\n{}", run.shown()));
    let figures: Vec<f64> = line
        .split("GPU:")
        .nth(1)
        .expect("figures")
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|word| word.parse().ok())
        .collect();
    let [joules, error, per_token, per_token_error, watts, secs, ..] = figures[..] else {
        panic!("{line}")
    };
    let record = run.record();
    let from_ns = record
        .requests
        .iter()
        .map(|r| r.issued_ns)
        .min()
        .expect("a request");
    let to_ns = record
        .requests
        .iter()
        .filter_map(|r| r.done_ns)
        .max()
        .expect("an answer");
    let counter = record
        .series
        .iter()
        .find(|s| &*s.def.metric_name == "gpu_energy_joules_total")
        .expect("the GPU's counter");
    let samples: Vec<(i64, f64)> = counter
        .timestamps_ns
        .iter()
        .copied()
        .zip(counter.values.iter().copied())
        .collect();
    assert!(
        samples.first().is_some_and(|(at, _)| *at <= from_ns)
            && samples.last().is_some_and(|(at, _)| *at >= to_ns),
        "the samples cover the window\n{line}"
    );
    // Between two samples the counter rises evenly.
    let at = |time_ns: i64| {
        let after = samples.partition_point(|(at, _)| *at < time_ns).max(1);
        let ((t0, v0), (t1, v1)) = (samples[after - 1], samples[after]);
        v0 + (v1 - v0) * (time_ns - t0) as f64 / (t1 - t0) as f64
    };
    let expected = at(to_ns) - at(from_ns);
    let tokens: u32 = record.requests.iter().filter_map(|r| r.output_tokens).sum();
    let window_secs = (to_ns - from_ns) as f64 / 1e9;
    assert!((joules - expected).abs() <= error + 0.1, "{expected} J\n{line}");
    assert!((secs - window_secs).abs() <= 0.051, "{window_secs} s\n{line}");
    assert!((watts - joules / window_secs).abs() <= 0.02 * watts, "{line}");
    for (shown, whole) in [(per_token, joules), (per_token_error, error)] {
        let expected = whole / f64::from(tokens);
        assert!(
            (shown - expected).abs() <= 1e-4 + 0.06 / f64::from(tokens),
            "{expected}\n{line}"
        );
    }
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
