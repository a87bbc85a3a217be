//! Tests with the real LoadGen. LoadGen keeps its state in globals, so every test runs in its own process:
//! this binary starts itself again, with the case's name in the environment.

#![allow(
    clippy::unwrap_used,
    reason = "the lint knows functions marked as tests, not their helpers"
)]

mod cases;

use std::path::Path;
use std::process::{Command, Output};

use mlperf_loadgen::{LoadGenLog, Validity, read_accuracy_log};
use tempfile::TempDir;

const CASE: &str = "MLPERF_LOADGEN_TEST_CASE";
const DIR: &str = "MLPERF_LOADGEN_TEST_DIR";

#[test]
#[ignore = "the other tests start it in a process of its own"]
fn child() {
    let case = std::env::var(CASE).expect("set by the parent");
    let dir = std::env::var(DIR).expect("set by the parent");
    cases::run(&case, Path::new(&dir));
}

fn start(case: &str, dir: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(CASE, case)
        .env(DIR, dir)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Runs a case to its end and returns its log folder; the case itself makes the assertions.
fn run(case: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let output = start(case, dir.path());
    assert!(
        output.status.success(),
        "{case}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    dir
}

fn log(dir: &TempDir) -> LoadGenLog {
    LoadGenLog::read(dir.path()).unwrap()
}

#[test]
fn offline_with_tokens() {
    let dir = run("offline");
    let log = log(&dir);
    let result = &log.result;
    assert_eq!(
        result.validity,
        Some(Validity::Valid),
        "{:?}",
        result.invalid_reason
    );
    assert_eq!(result.error_count(), 0);
    assert_eq!(result.num_errors, Some(0));
    assert_eq!(result.query_count, Some(1));
    assert_eq!(result.sut_name.as_deref(), Some("test SUT"));
    assert!(result.tokens_per_sec.unwrap() > 0.0);
    assert_eq!(result.effective["samples_per_query"], 64);
    assert!(result.loadgen_version.as_ref().unwrap().starts_with("6.0.17"));
    assert_eq!(result.loadgen_git_status.as_deref(), Some(""));
    assert!(result.loadgen_file_sha1.contains_key("/loadgen.cc"));
    assert!(log.unreadable.is_empty());
    assert!(log.summary.contains("Result is : VALID"));
    assert!(
        read_accuracy_log(&dir.path().join("mlperf_log_accuracy.json"))
            .unwrap()
            .is_empty()
    );
    // The trace is off, but LoadGen creates the file anyway.
    assert_eq!(
        std::fs::metadata(dir.path().join("mlperf_log_trace.json"))
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn server_answers_from_other_threads() {
    let dir = run("server");
    let result = log(&dir).result;
    assert_eq!(
        result.validity,
        Some(Validity::Valid),
        "{:?}",
        result.invalid_reason
    );
    assert_eq!(result.error_count(), 0, "{:?}", result.errors);
    assert!(result.query_count.unwrap() >= 500);
    assert_eq!(result.early_stopping_met, Some(true));
    assert!(result.ttft.percentile_ns(99.0).unwrap() > 0);
    assert!(result.tpot.percentile_ns(99.9).is_some());
    assert!(result.completed_tokens_per_sec.unwrap() > 0.0);
    assert!(result.scheduled_samples_per_sec.unwrap() > 0.0);
    assert_eq!(
        result.power_begin.as_ref().map(String::len),
        Some("11-21-2026 18:00:00.000".len())
    );
}

#[test]
fn single_stream_and_multi_stream_in_one_process() {
    let dir = run("streams");
    let read = |name: &str| LoadGenLog::read(&dir.path().join(name)).unwrap().result;
    let single = read("single");
    assert_eq!(single.validity, Some(Validity::Valid));
    assert!(single.qps_with_loadgen_overhead.unwrap() > 0.0);
    assert!(single.early_stopping_latency_ss_ns.unwrap() > 0);
    let multi = read("multi");
    assert_eq!(multi.validity, Some(Validity::Valid));
    assert!(multi.query_latency.percentile_ns(99.0).unwrap() > 0);
    assert_eq!(multi.effective["samples_per_query"], 8);
}

#[test]
fn accuracy_log_holds_the_bytes() {
    let dir = run("accuracy");
    let mut answers = read_accuracy_log(&dir.path().join("mlperf_log_accuracy.json")).unwrap();
    answers.sort_by_key(|answer| answer.qsl_idx);
    assert_eq!(answers.len(), 20);
    for (i, answer) in answers.iter().enumerate() {
        let i = i as u32;
        assert_eq!(answer.qsl_idx, u64::from(i));
        assert_eq!(answer.data, [i.to_le_bytes(), (i + 1).to_le_bytes()].concat());
        assert_eq!(answer.first_token.as_deref(), Some(&i.to_le_bytes()[..]));
        assert_eq!(answer.token_count, Some(2));
    }
    let result = log(&dir).result;
    // LoadGen judges performance tests only.
    assert_eq!((result.validity, result.num_errors), (None, None));
    assert_eq!(result.error_count(), 0);
    assert_eq!(result.effective["accuracy_sample_count"], 20);
}

#[test]
fn dropped_and_failed_samples_answer_with_an_error() {
    let dir = run("dropped");
    let result = log(&dir).result;
    // Three dropped, two failed, and the rest of one query not taken.
    assert_eq!(result.num_errors, Some(6), "{:?}", result.errors);
    assert!(result.errors.iter().all(|error| error.contains("n_tokens")));
}

#[test]
fn a_panicking_sut_does_not_stop_loadgen() {
    let dir = run("panic");
    let result = log(&dir).result;
    assert_eq!(result.query_count, Some(100));
    assert_eq!(result.num_errors, Some(10), "{:?}", result.errors);
}

#[test]
fn a_missing_first_token_shows_as_an_error_and_nothing_else_breaks() {
    let dir = run("missing first token");
    let result = log(&dir).result;
    assert_eq!(result.num_errors, Some(1), "{:?}", result.errors);
}

#[test]
fn samples_that_cannot_be_loaded_fail_every_query() {
    let dir = run("load failure");
    let result = log(&dir).result;
    assert_eq!(result.num_errors, Some(100));
}

#[test]
fn issue_threads_share_the_queries() {
    let dir = run("issue threads");
    let result = log(&dir).result;
    assert_eq!(result.error_count(), 0, "{:?}", result.errors);
    assert_eq!(
        result.validity,
        Some(Validity::Valid),
        "{:?}",
        result.invalid_reason
    );
}

#[test]
fn only_one_test_at_a_time() {
    run("one at a time");
}

#[test]
fn user_conf_once_per_process_and_refused_lines_do_not_count() {
    let dir = run("user.conf");
    let result = log(&dir).result;
    assert_eq!(result.error_count(), 0, "{:?}", result.errors);
    assert_eq!(result.effective["target_qps"], 2000.0);
    assert_eq!(result.effective["qsl_rng_seed"], 2_085_463_073_848_966_840_u64);
    assert!(!result.audit_config_found);
}

#[test]
fn a_stray_audit_config_is_not_read_and_a_named_one_is() {
    let dir = run("audit");
    let read = |name: &str| LoadGenLog::read(&dir.path().join(name)).unwrap().result;
    let without = read("without");
    assert!(!without.audit_config_found);
    assert_eq!(without.effective["min_query_count"], 100);
    let with = read("with");
    assert!(with.audit_config_found);
    assert_eq!(with.effective["min_query_count"], 7);
}

#[test]
fn a_log_folder_that_cannot_be_used_is_refused() {
    run("log folder");
}

#[test]
fn a_process_ends_with_its_status_while_threads_end_that_answered() {
    // Without the exit handler some of these end by a signal, in LoadGen's destructors.
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let output = start("exit", dir.path());
        assert_eq!(output.status.code(), Some(7), "{}", output.status);
    }
}
