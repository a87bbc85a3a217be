//! The search for the highest valid rate, with tiny trials.

use crate::support::Run;
use vllm_sim::{EngineConfig, OutputLength, SimConfig, Simulator};

#[test]
fn the_peak_lies_between_a_rate_that_held_and_one_that_did_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf = folder.path().join("user.conf");
    // Limits that the simulator exceeds as soon as its queue grows, at some hundreds of queries per second.
    let limits = "*.Server.ttft_latency = 400\n*.Server.tpot_latency = 100\n";
    std::fs::write(&conf, limits).expect("a file");
    let server = Simulator::start(SimConfig {
        engine: EngineConfig {
            enable_prefix_caching: false,
            max_num_seqs: 8,
            speed_ratio: 4.0,
            output_length: OutputLength::Fixed(12),
            ..EngineConfig::tiny_cpu()
        },
        ..SimConfig::default()
    })
    .expect("the simulator starts");
    let url = server.url();
    let conf = conf.to_string_lossy().into_owned();
    let flags =
        "--find-peak --target-qps 800 --peak-trial 300ms --peak-precision 1 --duration 2s --num-samples 512";
    let flags: Vec<&str> = flags
        .split_whitespace()
        .chain(["--url", &url, "--user-conf", &conf])
        .collect();
    let run = Run::new(&flags).without_metrics().finish();
    let shown = run.shown();
    assert!(run.stdout.contains("[SIMULATED]"), "{shown}");
    let why = "trial 1: 800 queries/s for 875ms, since LoadGen's test needs 700 queries";
    assert!(run.stderr.contains(why), "{shown}");
    // Rows of the table: number, kind, rate, queries, result.
    let trials: Vec<(String, f64, bool)> = run
        .stdout
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first()?.parse::<u32>().ok()?;
            Some((words[1].to_owned(), words[2].parse().ok()?, words[4] == "VALID"))
        })
        .collect();
    assert!(trials.len() >= 3, "{shown}");
    assert!(
        trials.iter().any(|(kind, _, valid)| kind == "short" && !valid),
        "{shown}"
    );
    let folders = std::fs::read_dir(run.log_dir().join("peak"))
        .expect("trials")
        .count();
    assert_eq!(folders, trials.len(), "{shown}");
    if run.status == Some(0) {
        let peak = run.stdout.split("peak: ").nth(1).expect("an answer");
        let peak: f64 = peak.split(' ').next().expect("a rate").parse().expect("a number");
        let (kind, rate, valid) = trials.last().expect("a trial");
        assert_eq!((kind.as_str(), *rate, *valid), ("long", peak, true), "{shown}");
        assert!(
            trials.iter().all(|(_, rate, valid)| *valid || *rate > peak),
            "{shown}"
        );
    } else {
        // On a busy machine every long run may fail; this is reported, and no peak is claimed.
        assert_eq!(run.status, Some(1), "{shown}");
        assert!(run.stdout.contains("no peak:"), "{shown}");
    }
    server.stop();
}

#[test]
fn a_trial_that_says_nothing_about_the_rate_ends_the_search() {
    let run = Run::new(&["--find-peak", "--scenario", "Offline"])
        .without_metrics()
        .finish();
    assert_eq!(run.status, Some(2), "{}", run.shown());
    assert!(run.stderr.contains("--find-peak"), "{}", run.shown());

    let server = Simulator::start(SimConfig {
        engine: EngineConfig::tiny_cpu(),
        faults: vec!["die requests=5".parse().expect("a fault")],
        ..SimConfig::default()
    })
    .expect("the simulator starts");
    let url = server.url();
    let flags = [
        "--find-peak",
        "--target-qps",
        "500",
        "--peak-trial",
        "1s",
        "--url",
        &url,
    ];
    let run = Run::new(&flags).without_metrics().finish();
    assert_eq!(run.status, Some(4), "{}", run.shown());
    assert!(run.stderr.contains("the server is gone"), "{}", run.shown());
}

#[test]
fn a_sweep_makes_one_run_per_rate() {
    let server = crate::support::simulator(&[]);
    let url = server.url();
    let flags = "--scenario Server --sweep 200,400 --duration 300ms --num-samples 32 --no-plots";
    let flags: Vec<&str> = flags.split(' ').chain(["--url", &url]).collect();
    let run = Run::new(&flags).finish();
    let shown = run.shown();
    // Too few queries for LoadGen's early-stopping test.
    assert_eq!(run.status, Some(1), "{shown}");
    assert!(run.stdout.contains("sweep   [SIMULATED]   Server"), "{shown}");
    let rates: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.contains("INVALID"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(rates, ["200", "400"], "{shown}");
    for folder in ["01_200qps", "02_400qps"] {
        let folder = run.log_dir().join("sweep").join(folder);
        for part in ["mlperf_log_summary.txt", "metrics_output", "console.txt"] {
            assert!(folder.join(part).exists(), "{part}\n{shown}");
        }
    }
    server.stop();
}
