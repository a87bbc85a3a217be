//! `--overhead-check`: pairs of runs in separate processes, and what it refuses.

use crate::support::Run;

#[test]
fn pairs_of_runs_are_compared() {
    let run = Run::new(&[
        "--overhead-check",
        "3",
        "--duration",
        "500ms",
        "--num-samples",
        "16",
        "--max-tokens",
        "4",
        "--metrics-collection-interval",
        "0.1",
    ])
    .finish();
    let shown = format!("{}{}", run.stdout, run.stderr);
    // Whether two short runs differ on a busy machine is random; that they are compared is not.
    assert!(matches!(run.status, Some(0 | 1)), "{shown}");
    for part in ["[SIMULATED]", "95 % interval", "n = 3", "verdict"] {
        assert!(run.stdout.contains(part), "{part} is missing in\n{shown}");
    }
    let folder = run.metrics_dir().join("overhead_0001");
    let text = std::fs::read_to_string(folder.join("overhead_check.json")).expect("the result");
    let result: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let ratio = &result["with_over_without"];
    let of = |key: &str| ratio[key].as_f64().expect("a number");
    assert!(of("low") <= of("mean") && of("mean") <= of("high"), "{text}");
    assert_eq!(
        run.status,
        Some(if result["passes"] == true { 0 } else { 1 }),
        "{shown}"
    );
    let pairs = result["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 3);
    for pair in ["pair_0001", "pair_0002", "pair_0003"] {
        let recorded = |arm| folder.join(format!("{pair}_{arm}/metrics_output")).exists();
        assert!(recorded("on") && !recorded("off"), "{pair}");
    }
    // Geometric mean of the pairs' ratios.
    let product: f64 = pairs
        .iter()
        .map(|p| {
            p["on_tokens_per_sec"].as_f64().unwrap_or(0.0) / p["off_tokens_per_sec"].as_f64().unwrap_or(0.0)
        })
        .product();
    assert!((product.cbrt() / of("mean") - 1.0).abs() < 1e-9, "{text}");
}

#[test]
fn what_would_mean_nothing_is_refused() {
    for (flags, part) in [
        ("--overhead-check 1", "from 3 to 1000"),
        ("--overhead-check 2", "from 3 to 1000"),
        ("--overhead-check --scenario Server", "load sets the throughput"),
        ("--overhead-check --model org/m", "give --url"),
        ("--overhead-check --test-mode accuracy", "throughput"),
        ("--overhead-check --dry-run", "--dry-run"),
    ] {
        let run = Run::new(&flags.split(' ').collect::<Vec<_>>()).finish();
        assert_eq!(run.status, Some(2), "{flags}\n{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(part), "{flags}\n{}", run.stderr);
        assert!(!run.metrics_dir().exists(), "{flags}: nothing may be left");
    }
}

#[test]
fn a_run_that_fails_ends_the_check_with_its_status() {
    // The port is closed again.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let run = Run::new(&["--overhead-check", "3", "--url", &url, "--startup-timeout", "1"]).finish();
    assert_eq!(run.status, Some(2), "{}", run.stderr);
    let run = Run::new(&["--overhead-check", "3", "--url", &url]).finish();
    assert_eq!(run.status, Some(3), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("output.log"), "{}", run.stderr);
}
