//! The fault table. For every fault of the server, the network, the disk or the program: each query is
//! answered once, none with tokens that the server did not send, failures do not count as throughput, every
//! file is readable, and the exit status and the last lines report what happened.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Finished, Run, simulator};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use vllm_metrics::Outcome;
use vllm_sim::Simulator;

/// 256 queries of 16 tokens, as fast as they are answered.
const OFFLINE: &str =
    "--scenario Offline --duration 100ms --num-samples 64 --target-qps 2000 --max-tokens 16 --concurrency 32";
/// About 128 queries of 8 tokens in a second.
const SERVER: &str = "--scenario Server --duration 1s --num-samples 64 --target-qps 100 --max-tokens 8";
/// The same with a schedule that is too long to wait for.
const LONG_SERVER: &str =
    "--scenario Server --duration 300s --num-samples 64 --target-qps 100 --max-tokens 8";

fn run(simulator: &Simulator, flags: &str, more: &str) -> Run {
    let url = simulator.url();
    let flags: Vec<&str> = flags
        .split(' ')
        .chain(["--no-plots", "--url", &url])
        .chain(more.split_whitespace())
        .collect();
    Run::new(&flags)
}

/// The counts in the closing table: issued, completed, failed.
fn counts(run: &Finished) -> [usize; 3] {
    let line = run
        .stdout
        .lines()
        .find(|line| line.trim_start().starts_with("queries"))
        .unwrap_or_else(|| panic!("no closing table\n{}", run.shown()));
    let numbers: Vec<usize> = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers.try_into().expect("three numbers")
}

/// Asserts what must hold after every fault. Returns the number of failed queries.
fn assert_honest(run: &Finished, status: i32) -> usize {
    let shown = run.shown();
    assert_eq!(run.status, Some(status), "{shown}");
    let [issued, completed, failed] = counts(run);
    assert_eq!(
        issued,
        completed + failed,
        "every query is answered once\n{shown}"
    );

    let record = run.record();
    assert!(
        record.manifest.ended_ns.is_some(),
        "the files were closed\n{shown}"
    );
    assert!(record.notes.is_empty(), "{:?}\n{shown}", record.notes);
    assert_eq!(record.requests.len(), issued, "{shown}");
    let of = |outcome| record.requests.iter().filter(move |r| r.outcome == outcome);
    assert_eq!(of(Outcome::Unfinished).count(), 0, "{shown}");
    assert_eq!(of(Outcome::Completed).count(), completed, "{shown}");
    for request in of(Outcome::Failed) {
        assert_eq!(request.output_tokens, None, "no invented tokens: {request:?}");
        assert!(request.reason.is_some(), "{request:?}");
    }
    for request in of(Outcome::Completed) {
        assert!(
            request.output_tokens.is_some_and(|tokens| tokens > 1),
            "{request:?}"
        );
    }
    // Every Parquet file, including the processed ones, can be opened separately.
    for path in run.files("") {
        if path.extension().is_some_and(|e| e == "parquet") {
            let file = std::fs::File::open(&path).expect("a file");
            let rows = ParquetRecordBatchReaderBuilder::try_new(file)
                .and_then(ParquetRecordBatchReaderBuilder::build)
                .map(|reader| reader.map(|batch| batch.expect("rows").num_rows()).sum::<usize>());
            assert!(rows.is_ok(), "{}: {rows:?}\n{shown}", path.display());
        }
    }
    failed
}

/// LoadGen ended by itself, logged an error for each failure that it can detect, and counts no failure as
/// throughput.
fn assert_loadgen_agrees(run: &Finished, failed: usize) {
    let shown = run.shown();
    let result = run.loadgen().result;
    let issued =
        result.generated_query_count.expect("a count") * result.generated_samples_per_query.expect("a size");
    assert_eq!(issued, counts(run)[0] as u64, "{shown}");
    // LoadGen logs an error for each answer without tokens.
    assert!(
        result.error_count() >= failed as u64,
        "{:?}\n{shown}",
        result.errors
    );
    if failed == 0 {
        assert_eq!(result.error_count(), 0, "{:?}\n{shown}", result.errors);
    }
    if let Some((ours, theirs)) = run.both_throughputs() {
        assert!(
            (ours / theirs - 1.0).abs() < 1e-3,
            "{ours} against {theirs}\n{shown}"
        );
    }
}

#[test]
fn faults_of_single_requests_in_both_scenarios() {
    let faults = [
        ("status code=503 requests=10..14", "4 x status"),
        ("reset tokens=1 requests=20", ""),
        ("reset tokens=3 requests=21..23", ""),
        // A chunked answer that is cut off is a connection error.
        ("truncate tokens=3 requests=30..32", "5 x reset"),
        ("garbage tokens=3 requests=40..42", "2 x malformed"),
        ("error tokens=3 requests=50", "1 x server_error"),
        ("stall tokens=3 requests=60..62", "2 x timeout"),
    ];
    for scenario in [OFFLINE, SERVER] {
        let simulator = simulator(&faults.map(|(rule, _)| rule));
        let run = run(&simulator, scenario, "--stall-timeout 0.6").finish();
        assert_eq!(assert_honest(&run, 1), 14);
        assert_loadgen_agrees(&run, 14);
        for (_, told) in faults {
            assert!(run.stdout.contains(told), "{told} is missing in\n{}", run.shown());
        }
        simulator.stop();
    }
}

#[test]
fn a_server_that_is_gone_ends_the_run_whatever_loadgen_still_has_planned() {
    for (scenario, more, summary) in [(OFFLINE, "", true), (SERVER, "", true), (LONG_SERVER, "", false)] {
        let simulator = simulator(&["die requests=40"]);
        let started = Instant::now();
        let run = run(&simulator, scenario, more).finish();
        let shown = run.shown();
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "no waiting for LoadGen\n{shown}"
        );
        assert!(assert_honest(&run, 4) > 0);
        assert!(run.stdout.contains("the server is gone"), "{shown}");
        assert_summary(&run, summary, "the server is gone");
        simulator.stop();
    }
}

/// LoadGen's summary exists, or a note states why not.
fn assert_summary(run: &Finished, there: bool, why: &str) {
    let shown = run.shown();
    let log = run.loadgen();
    assert_eq!(log.summary.is_empty(), !there, "{shown}");
    let note = std::fs::read_to_string(run.log_dir().join("NO_SUMMARY.txt"));
    if there {
        assert!(note.is_err(), "{shown}");
    } else {
        let note = note.unwrap_or_else(|error| panic!("{error}\n{shown}"));
        assert!(note.contains(why), "{note}");
        assert!(run.stdout.contains("NO_SUMMARY.txt"), "{shown}");
        assert!(
            !log.entries.is_empty(),
            "the detail log is there as far as it got"
        );
    }
}

#[test]
fn a_server_that_restarts_costs_the_queries_of_that_time() {
    let simulator = simulator(&["restart for=150ms requests=40"]);
    let run = run(&simulator, SERVER, "").finish();
    let failed = assert_honest(&run, 1);
    assert!(
        failed > 0 && counts(&run)[1] > 64,
        "it came back\n{}",
        run.shown()
    );
    assert_loadgen_agrees(&run, failed);
    // Restarted counters are reported, and not treated as decreasing ones.
    let record = run.record();
    assert!(
        record
            .events
            .iter()
            .any(|event| &*event.kind == "counter_reset" || &*event.kind == "gap"),
        "{:?}",
        record.events.iter().map(|event| &event.kind).collect::<Vec<_>>()
    );
    simulator.stop();
}

#[test]
fn refused_connections_in_mid_run() {
    // The first error response shows that load has arrived; from then on no new connection is accepted.
    let simulator = simulator(&["status requests=40"]);
    let run = run(&simulator, LONG_SERVER, "");
    let mut child = start(&run);
    wait_for_load(&simulator, &mut child);
    simulator.add_fault("refuse".parse().expect("a fault"));
    let run = run.ended(child);
    assert!(assert_honest(&run, 4) > 1);
    assert!(run.stdout.contains("x refused"), "{}", run.shown());
    assert_summary(&run, false, "the server is gone");
    simulator.stop();
}

#[test]
fn a_server_that_hangs_is_given_up_after_the_stall_limit() {
    // Its health route still reports a healthy server.
    let simulator = simulator(&["hang requests=40"]);
    let started = Instant::now();
    let run = run(&simulator, OFFLINE, "--stall-timeout 0.7 --request-timeout 100").finish();
    assert!(started.elapsed() < Duration::from_secs(15), "{}", run.shown());
    assert!(assert_honest(&run, 4) > 0);
    assert!(
        run.stdout.contains("no query was answered for 0.7 s"),
        "{}",
        run.shown()
    );
    assert!(
        run.stdout
            .contains("its engine made no progress, while its API process is alive"),
        "{}",
        run.shown()
    );
    simulator.stop();
}

#[test]
fn signals_end_a_run_in_good_order() {
    for (signal, scenario, summary) in [
        ("TERM", OFFLINE, true),
        ("INT", LONG_SERVER, false),
        ("TERM", LONG_SERVER, false),
        ("QUIT", LONG_SERVER, false),
    ] {
        // So slow that no run ends before the signal.
        let simulator = simulator(&["slow percent=2000", "status requests=20"]);
        let run = run(&simulator, scenario, "");
        let mut child = start(&run);
        wait_for_load(&simulator, &mut child);
        kill(signal, &child);
        let told = Instant::now();
        let run = run.ended(child);
        assert!(told.elapsed() < Duration::from_secs(10), "{}", run.shown());
        assert!(assert_honest(&run, 4) > 0);
        let cause = format!("SIG{signal} was received");
        assert!(run.stdout.contains(&cause), "{}", run.shown());
        assert_summary(&run, summary, &cause);
        simulator.stop();
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_what_was_written_readable() {
    // A limit on the size of every file simulates a full disk without privileges: writes beyond it fail.
    let simulator = simulator(&[]);
    // A single scrape is larger than the limit as text, while LoadGen's logs and the requests are not: the
    // run is unaffected, its record is truncated, and what was written is readable.
    let long = "--scenario Server --duration 3s --num-samples 64 --target-qps 20 --max-tokens 8";
    let full = run(&simulator, long, "--metrics-format csv")
        .with_file_limit_kib(60)
        .finish();
    let shown = full.shown();
    assert!(matches!(full.status, Some(0 | 1)), "{shown}");
    assert!(full.stdout.contains("THE RECORD WAS NOT FINISHED"), "{shown}");
    assert!(full.stdout.contains("File too large"), "{shown}");
    let [issued, completed, failed] = counts(&full);
    assert_eq!((issued, failed), (completed, 0), "{shown}");
    assert_loadgen_agrees(&full, 0);
    let record = full.record();
    assert!(
        record.requests.len() > 10,
        "{} requests\n{shown}",
        record.requests.len()
    );
    assert!(
        record.manifest.ended_ns.is_none() && record.notes.iter().any(|note| note.contains("cut")),
        "{:?}\n{shown}",
        record.notes
    );
    let left = full
        .files("")
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "tmp"));
    assert_eq!(left, None, "half a file takes room that is not there");

    // Even LoadGen's logs do not fit, so there is no result, and this is reported.
    let full = run(&simulator, SERVER, "").with_file_limit_kib(4).finish();
    let shown = full.shown();
    assert!(!matches!(full.status, Some(0) | None), "{shown}");
    assert!(full.stdout.contains("NO RESULT"), "{shown}");
    simulator.stop();
}

fn start(run: &Run) -> Child {
    run.command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Waits until the simulator has applied its rule on single requests, so that the run is under load.
fn wait_for_load(simulator: &Simulator, child: &mut Child) {
    loop {
        let hit = simulator
            .fault_hits()
            .iter()
            .any(|(rule, hits)| rule.when.first.is_some() && *hits > 0);
        if hit {
            return;
        }
        assert!(
            child.try_wait().expect("a child").is_none(),
            "the run ended too early"
        );
        std::thread::yield_now();
    }
}

fn kill(signal: &str, child: &Child) {
    let sent = std::process::Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
}
