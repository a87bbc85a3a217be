//! Faults outside the load must be reported and leave readable files: broken metrics pages, a kill, and bad
//! input. Faults of the load itself are in `fault_table.rs`.

use std::path::PathBuf;

use crate::support::{Run, simulator};
use vllm_metrics::store::read_run;
use vllm_metrics::{EventKind, Outcome};

/// Flags of a short Offline run of 256 queries against `url`.
fn offline(url: &str) -> Vec<String> {
    let flags = "--scenario Offline --duration 100ms --num-samples 64 --target-qps 2000 --max-tokens 16 --concurrency 32";
    let mut flags: Vec<String> = flags.split(' ').map(str::to_owned).collect();
    flags.extend(["--url".to_owned(), url.to_owned()]);
    flags
}

fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

#[test]
fn broken_metrics_pages_cost_only_the_metrics() {
    for (fault, told) in [
        ("metrics-status code=404", "never answered"),
        ("metrics-garbage", "MISSING"),
        ("metrics-slow for=1h", "never answered"),
        ("metrics-reset requests=1..", "MISSING"),
    ] {
        let simulator = simulator(&[fault]);
        let mut flags = offline(&simulator.url());
        flags.extend(["--metrics-collection-interval", "0.1"].map(str::to_owned));
        let run = Run::new(&strs(&flags)).finish();
        let shown = format!("{fault}\n{}{}", run.stdout, run.stderr);
        assert_eq!(run.status, Some(0), "{shown}");
        assert!(run.stdout.contains(told), "{shown}");
        let record = run.record();
        assert!(
            record.requests.iter().all(|r| r.outcome == Outcome::Completed),
            "{shown}"
        );
        // The run ends by itself, whatever the page does, and after the last answer.
        let at = |kind: EventKind| record.events.iter().position(|event| event.kind == kind);
        let (completed, finished) = (at(EventKind::TestCompleted), at(EventKind::SessionFinished));
        assert!(completed.is_some() && completed < finished, "{shown}");
        simulator.stop();
    }
}

#[test]
fn what_was_recorded_before_a_kill_can_be_read() {
    let simulator = simulator(&[]);
    // Long enough for the kill to come first.
    let flags: Vec<String> = offline(&simulator.url())
        .into_iter()
        .map(|flag| if flag == "100ms" { "60s".into() } else { flag })
        .collect();
    let run = Run::new(&strs(&flags));
    let mut child = run.command().spawn().expect("the program starts");
    let record = loop {
        if let Some(path) = raw_file(&run)
            && let Ok(record) = read_run(&path)
            && record.requests.len() > 20
        {
            break path;
        }
        assert!(
            child.try_wait().expect("a child").is_none(),
            "the run ended before it was killed"
        );
        std::thread::yield_now();
    };
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    let read = read_run(&record).expect("the record opens");
    assert!(read.requests.len() > 20 && !read.series.is_empty());
    assert!(read.manifest.ended_ns.is_none());
    assert!(
        read.notes.iter().any(|note| note.contains("cut")),
        "{:?}",
        read.notes
    );
    simulator.stop();
}

fn raw_file(run: &Run) -> Option<PathBuf> {
    let entries = std::fs::read_dir(run.folder().join("metrics_output")).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        name.starts_with("vllm_metrics_") && name.ends_with(".parquet")
    })
}

#[test]
fn bad_input_gets_one_clear_error_before_any_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf = |text: &str, name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let key = conf("*.Offline.min_duratoin = 5\n", "key.conf");
    let number = conf("# x\n*.Offline.min_duration = soon\n", "number.conf");
    let data = conf("[{\"tok_input\": [1, 2]}, {\"tok_input\": \"x\"}]", "data.json");
    let simulator = simulator(&[]);
    let url = simulator.url();
    for (flags, status, told) in [
        (vec!["--no-such-flag"], 2, vec!["--no-such-flag"]),
        (vec!["--url", "http://127.0.0.1:1"], 3, vec!["http://127.0.0.1:1"]),
        (
            vec!["--url", &url, "--model", "other"],
            2,
            vec!["other", "simulated"],
        ),
        (
            vec!["--lg-model-name", "llama3.1-8b"],
            2,
            vec!["llama3.1-8b", "llama3_1-8b"],
        ),
        (
            vec!["--user-conf", &key],
            2,
            vec!["key.conf", "min_duratoin", "1"],
        ),
        (vec!["--user-conf", &number], 2, vec!["number.conf", "2", "soon"]),
        (vec!["--user-conf", "none.conf"], 2, vec!["none.conf"]),
        (vec!["--dataset-path", "none.json"], 2, vec!["none.json"]),
        (vec!["--dataset-path", &data], 2, vec!["data.json", "tok_input"]),
        (vec!["--metrics-output-dir", "/proc/none"], 2, vec!["/proc/none"]),
    ] {
        let run = Run::new(&flags).finish();
        assert_eq!(
            run.status,
            Some(status),
            "{flags:?}\n{}{}",
            run.stdout,
            run.stderr
        );
        for part in told {
            assert!(
                run.stderr.contains(part),
                "{flags:?}: {part} is missing in\n{}",
                run.stderr
            );
        }
        assert!(
            !run.log_dir().join("mlperf_log_detail.txt").exists(),
            "{flags:?}: load was sent"
        );
    }
    simulator.stop();
}
