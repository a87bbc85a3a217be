//! The first steps of a new user: commands on stored runs, help with diagnosing problems, the result as a
//! file.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Run, simulator};

fn sut(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sut"))
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn shown(output: &Output) -> String {
    format!(
        "{:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn a_stored_run_that_is_not_there_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for line in [
        vec!["report", "metrics_output/vllm_metrics_20240101_000000.parquet"],
        vec!["process", "nofile.parquet"],
        vec!["convert", "nofile.parquet", "--to", "csv", "--output-dir", "out"],
    ] {
        let output = sut(folder.path(), &line);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains("there is no file"), "{}", shown(&output));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_run_leaves_its_result_as_a_file_and_can_be_processed_again() {
    let flags = "--duration 1s --num-samples 32";
    let run = Run::new(&flags.split(' ').collect::<Vec<_>>()).finish();
    // Whether LoadGen reports such a short run as VALID depends on the machine.
    assert!(matches!(run.status, Some(0 | 1)), "{}", run.shown());
    assert!(run.stderr.contains(" samples in one query"), "{}", run.shown());
    // The diagnosis of the record is a part of the closing table.
    assert!(run.stdout.contains("steady window"), "{}", run.shown());
    let path = std::fs::read_dir(run.log_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("result_"))
        .unwrap();
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let word = if run.status == Some(0) { "VALID" } else { "INVALID" };
    assert_eq!(result["outcome"], word);
    assert_eq!(result["exit_status"], run.status.unwrap());
    assert_eq!(result["run"]["simulated"], true);
    assert_eq!(
        result["settings"]["planned_samples"],
        result["figures"]["samples_issued"]["value"]
    );
    let mut names: Vec<&str> = result["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    let listed = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), listed, "{}", result["files"]);
    let figures = &result["figures"];
    assert_eq!(
        figures["samples_completed"]["value"],
        result["figures"]["samples_issued"]["value"]
    );
    let rate = figures["output_tokens_per_s"]["value"].as_f64().unwrap();
    let (ours, _) = run.both_throughputs().unwrap();
    assert!((rate / ours - 1.0).abs() < 1e-3, "{rate} {ours}");
    for name in [
        "ttft_scheduled_ms",
        "ttft_sent_ms",
        "tpot_ms",
        "latency_scheduled_ms",
    ] {
        let figure = &figures[name];
        assert!(
            figure["p99"].as_f64() >= figure["p50"].as_f64(),
            "{name}: {figure}"
        );
        assert!(
            figure["definition"].as_str().is_some_and(|text| !text.is_empty()),
            "{name}"
        );
    }

    let processed: Vec<_> = run
        .files("")
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("_processed"))
        .collect();
    assert!(!processed.is_empty(), "{}", run.shown());
    for path in &processed {
        std::fs::remove_file(path).unwrap();
    }
    let raw = run.files("vllm_metrics_")[0].clone();
    let output = sut(&run.metrics_dir(), &["process", raw.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(processed.iter().all(|path| path.exists()), "{}", shown(&output));
    // Existing files are never overwritten, and derived files are not used as input.
    assert_eq!(
        sut(&run.metrics_dir(), &["process", raw.to_str().unwrap()])
            .status
            .code(),
        Some(2)
    );
    let derived = processed[0].to_str().unwrap();
    assert_eq!(
        sut(&run.metrics_dir(), &["process", derived]).status.code(),
        Some(2)
    );
}

#[test]
fn a_dry_run_is_for_people() {
    let flags = "--dry-run --scenario Server --target-qps 2 --duration 5s --num-samples 32";
    let run = Run::new(&flags.split(' ').collect::<Vec<_>>())
        .without_metrics()
        .finish();
    assert_eq!(run.status, Some(0), "{}", run.shown());
    for told in [
        "dry run: every check was made, no load was sent",
        "queries at 2 per second",
        "32 samples: rounded up from 10 samples to 1 whole pass over the 32 samples",
        "the run cannot be VALID",
        "LoadGen's early-stopping test needs at least 459",
        "TTFT 2s, TPOT 100ms",
    ] {
        assert!(run.stdout.contains(told), "{told} is missing in\n{}", run.shown());
    }
    assert!(
        !run.stdout.contains("Plan {") && !run.stdout.contains("Some("),
        "{}",
        run.shown()
    );
}

#[test]
fn what_scoring_lacks_is_said_before_the_load() {
    let flags = "--dry-run --test-mode accuracy --num-samples 8";
    let run = Run::new(&flags.split(' ').collect::<Vec<_>>())
        .without_metrics()
        .finish();
    assert_eq!(run.status, Some(0), "{}", run.shown());
    assert!(run.stdout.contains("scoring: "), "{}", run.shown());
}

#[test]
fn the_doctor_finds_out_why_there_are_no_metrics() {
    let server = simulator(&[]);
    let folder = tempfile::tempdir().unwrap();
    let output = sut(folder.path(), &["doctor", "--url", &server.url()]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(
        shown(&output).contains("nothing is in the way")
            && shown(&output).contains("ok   every line of the page was read")
            && !shown(&output).contains("FAIL"),
        "{}",
        shown(&output)
    );
    server.stop();
    // The port is closed again.
    let output = sut(folder.path(), &["doctor", "--url", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(
        shown(&output).contains("nothing answers there"),
        "{}",
        shown(&output)
    );
}

#[test]
fn versions_completions_and_the_man_page_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let version = shown(&sut(folder.path(), &["--version"]));
    assert!(
        version.contains("LoadGen ") && version.contains("features: "),
        "{version}"
    );
    for shell in ["bash", "zsh", "fish"] {
        let output = shown(&sut(folder.path(), &["completions", shell]));
        assert!(output.contains("target-qps"), "{shell}");
    }
    assert!(shown(&sut(folder.path(), &["completions", "man"])).contains(".TH"));
}

/// Every user of the machine can read the command line of a process.
#[test]
fn a_key_does_not_stay_on_the_command_line() {
    let flags = "--api-key CANARY --duration 300s --num-samples 8";
    let run = Run::new(&flags.split(' ').collect::<Vec<_>>()).without_metrics();
    let child = run
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = run.folder().join("mlperf_logs/mlperf_log_detail.txt");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !log.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let done = run.ended(child);
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(line.contains("--duration") && !line.contains("CANARY"), "{line}");
    assert!(!done.shown().contains("CANARY"), "{}", done.shown());
    let environment = std::fs::read_to_string(done.log_dir().join("environment.json")).unwrap();
    assert!(!environment.contains("CANARY"), "{environment}");
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let run = Run::new(&[
        "--duration",
        "100ms",
        "--target-qps",
        "100",
        "--num-samples",
        "8",
        "--max-tokens",
        "4",
    ])
    .without_metrics();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = run
        .command()
        .stdout(Stdio::from(full.try_clone().unwrap()))
        .stderr(Stdio::from(full))
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

/// A started server ends with the program: gracefully after a closed terminal, and in any case otherwise.
#[test]
fn a_started_server_is_never_orphaned() {
    for (signal, status) in [
        (Signal::SIGHUP, Some(4)),
        (Signal::SIGQUIT, Some(4)),
        (Signal::SIGKILL, None),
    ] {
        let serve = format!(
            "sh -c 'echo $$ >pid; exec \"$0\" sim --port \"$1\" --served-model-name \"$2\"' {} {{port}} {{model}}",
            env!("CARGO_BIN_EXE_sut")
        );
        let run = Run::new(&[
            "--model",
            "tiny",
            "--serve-command",
            &serve,
            "--scenario",
            "Server",
            "--duration",
            "300s",
            "--target-qps",
            "5",
        ])
        .without_metrics();
        let child = run
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let until = |what: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(90);
            while !what() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(what(), "not within the deadline");
        };
        let log = run.folder().join("mlperf_logs/mlperf_log_detail.txt");
        until(&|| log.exists());
        let server: i32 = std::fs::read_to_string(run.folder().join("pid"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let done = run.ended(child);
        assert_eq!(done.status, status, "{}", done.shown());
        // Its new parent may leave it unreaped.
        let stat = format!("/proc/{server}/stat");
        until(&|| !std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")));
    }
}

#[test]
fn a_part_of_a_run_is_reported_elsewhere_and_says_so() {
    let run = Run::new(&["--duration", "1s", "--num-samples", "32"]).finish();
    let samples = run.metrics_dir().display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let part = |flags: &[&str]| sut(folder.path(), &[&["report", samples.as_str()], flags].concat());
    let refused = part(&["--from", "1s"]);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "it would replace the report of the whole run"
    );
    let reversed = part(&["--from", "2s", "--to", "1s", "--output-dir", "part"]);
    assert!(String::from_utf8_lossy(&reversed.stderr).contains("--from must be before --to"));
    let made = part(&["--to", "10m", "--output-dir", "part"]);
    let shown = String::from_utf8_lossy(&made.stderr).into_owned();
    assert_eq!(made.status.code(), Some(0), "{shown}");
    assert!(
        shown.contains("this is a part of the run: from 0 s to 600 s"),
        "{shown}"
    );
    let nothing = part(&["--from", "1h", "--output-dir", "part"]);
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn a_log_at_debug_shows_scrapes_requests_and_phases() {
    let flags = "--duration 100ms --num-samples 16 --max-tokens 4 --no-plots --metrics-interval 100ms --log-level DEBUG";
    let run = Run::new(&flags.split(' ').collect::<Vec<_>>()).finish();
    let count = |part: &str| run.stderr.lines().filter(|line| line.contains(part)).count();
    assert_eq!(
        count("request completed"),
        run.record().requests.len(),
        "{}",
        run.shown()
    );
    assert!(count(" scraped ") > 0, "{}", run.shown());
}

#[test]
fn a_metrics_file_of_another_program_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("timestamp,metric_name,value,labels\n");
    for second in 0..30 {
        let time = format!("2025-06-01T12:00:{second:02}");
        let labels = "\"{\"\"engine\"\": \"\"0\"\"}\"";
        text += &format!("{time},vllm:generation_tokens_total,{},{labels}\n", second * 50);
        text += &format!("{time},vllm:num_requests_running,{},{labels}\n", second % 4);
    }
    std::fs::write(folder.path().join("metrics_1.csv"), text).unwrap();
    let output = sut(folder.path(), &["report", "metrics_1.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(
        shown(&output).contains("written by another program"),
        "{}",
        shown(&output)
    );
    let summary = folder
        .path()
        .join("visualizations/metrics_summary_20250601_120000.json");
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    let mean = &summary["metrics"]["vllm:generation_tokens_total"]["series"][0];
    assert_eq!(mean["mean_per_second"].as_f64(), Some(50.0), "{mean}");
    let output = sut(folder.path(), &["process", "metrics_1.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(
        folder
            .path()
            .join("vllm_metrics_20250601_120000_processed.csv")
            .exists()
    );
}

#[test]
fn a_conversion_that_fails_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("a.csv"),
        "timestamp,metric_name,value\n2025,a,1\n",
    )
    .unwrap();
    let output = sut(
        folder.path(),
        &["convert", "a.csv", "--to", "json", "--output-dir", "out"],
    );
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(
        shown(&output).contains("a.csv") && shown(&output).contains("line 2"),
        "{}",
        shown(&output)
    );
    assert!(!folder.path().join("out").exists());
}

#[test]
fn the_help_says_how_a_server_is_started_and_how_limits_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let help = shown(&sut(folder.path(), &["--help"]));
    for part in [
        "--serve-command <COMMAND>",
        "vllm.entrypoints.openai.api_server",
        "Default: vllm serve",
    ] {
        assert!(help.contains(part), "{part} is missing in\n{help}");
    }
}
