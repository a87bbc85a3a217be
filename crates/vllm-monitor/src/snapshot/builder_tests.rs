//! Tests of the snapshot builder: aliases, resets, ages, absences.

use super::*;
use crate::snapshot::{Exit, Probe, ProbeOutcome};

fn at(secs: f64) -> Time {
    Time::from_secs_f64(secs)
}

fn builder() -> SnapshotBuilder {
    SnapshotBuilder::new("t", StaleAfter::default())
}

#[test]
fn a_value_ages_from_fresh_to_stale_and_keeps_its_number() {
    let mut b = builder();
    b.sample("vllm:num_requests_waiting", &[("engine", "0")], 7.0, at(1.0));
    assert_eq!(b.build(at(2.0)).engine.waiting, Signal::fresh(7.0, 1.0));
    assert_eq!(b.build(at(31.0)).engine.waiting, Signal::stale(7.0, 30.0));
}

#[test]
fn absences_say_why() {
    let mut b = builder();
    assert_eq!(b.build(at(0.0)).engine.running, Signal::Absent(Absence::NoSource));
    let refused = Probe {
        at: at(1.0),
        outcome: ProbeOutcome::Refused,
        connect_secs: None,
        first_byte_secs: None,
    };
    b.metrics_probe(refused);
    assert_eq!(
        b.build(at(1.0)).engine.running,
        Signal::Absent(Absence::NotYetObserved)
    );
    b.page_complete(at(2.0));
    assert_eq!(
        b.build(at(2.0)).engine.running,
        Signal::Absent(Absence::NotExported)
    );
    b.sample("vllm:num_requests_running", &[], f64::NAN, at(3.0));
    assert_eq!(b.build(at(3.0)).engine.running, Signal::Absent(Absence::Invalid));
}

#[test]
fn counters_go_on_over_a_restart() {
    let mut b = builder();
    let tokens = |b: &mut SnapshotBuilder, value, t| {
        b.sample("vllm:generation_tokens_total", &[("engine", "0")], value, at(t));
        b.build(at(t)).engine.generation_tokens_total.if_fresh()
    };
    assert_eq!(tokens(&mut b, 100.0, 1.0), Some(100.0));
    assert_eq!(tokens(&mut b, 150.0, 2.0), Some(150.0));
    assert_eq!(
        tokens(&mut b, 10.0, 3.0),
        Some(160.0),
        "the counter fell: the server was started again"
    );
    // A restart that is past its old count at the next scrape shows only in the start time.
    b.sample("process_start_time_seconds", &[], 1000.0, at(4.0));
    assert_eq!(tokens(&mut b, 20.0, 4.0), Some(170.0));
    b.sample("process_start_time_seconds", &[], 2000.0, at(5.0));
    assert_eq!(tokens(&mut b, 500.0, 5.0), Some(670.0));
}

#[test]
fn the_newest_name_wins_over_an_alias() {
    let mut b = builder();
    b.sample("vllm:gpu_cache_usage_perc", &[("engine", "0")], 0.9, at(1.0));
    assert_eq!(b.build(at(1.0)).engine.kv_usage_ratio.if_fresh(), Some(0.9));
    b.sample("vllm:kv_cache_usage_perc", &[("engine", "0")], 0.3, at(1.0));
    assert_eq!(b.build(at(1.0)).engine.kv_usage_ratio.if_fresh(), Some(0.3));
}

#[test]
fn members_are_summed_and_kept_apart() {
    let mut b = builder();
    for (engine, running, usage) in [("0", 3.0, 0.2), ("1", 5.0, 0.7)] {
        b.sample(
            "vllm:num_requests_running",
            &[("engine", engine)],
            running,
            at(1.0),
        );
        b.sample("vllm:kv_cache_usage_perc", &[("engine", engine)], usage, at(1.0));
        b.sample(
            "vllm:iteration_tokens_total_count",
            &[("engine", engine)],
            running * 10.0,
            at(1.0),
        );
    }
    let engine = b.build(at(1.0)).engine;
    assert_eq!(engine.running.if_fresh(), Some(8.0));
    assert_eq!(
        engine.kv_usage_ratio.if_fresh(),
        Some(0.7),
        "the fullest member preempts first"
    );
    assert_eq!(engine.members.len(), 2);
    assert_eq!(engine.members[1].steps_total.if_fresh(), Some(50.0));
}

#[test]
fn reasons_are_told_apart_by_label() {
    let mut b = builder();
    for (reason, count) in [("stop", 10.0), ("length", 5.0), ("error", 2.0), ("abort", 1.0)] {
        b.sample(
            "vllm:request_success_total",
            &[("finished_reason", reason)],
            count,
            at(1.0),
        );
    }
    let engine = b.build(at(1.0)).engine;
    assert_eq!(engine.finished_total.if_fresh(), Some(18.0));
    assert_eq!(engine.errors_total.if_fresh(), Some(2.0));
    assert_eq!(engine.aborted_total.if_fresh(), Some(1.0));
}

#[test]
fn capacity_comes_from_the_cache_configuration() {
    let mut b = builder();
    b.sample(
        "vllm:cache_config_info",
        &[("block_size", "16"), ("num_gpu_blocks", "1000")],
        1.0,
        at(1.0),
    );
    assert_eq!(
        b.build(at(60.0)).engine.kv_capacity_tokens.if_fresh(),
        Some(16_000.0)
    );
    let labels = [
        ("block_size", "16"),
        ("num_gpu_blocks", "1000"),
        ("kv_cache_size_tokens", "15360"),
    ];
    b.sample("vllm:cache_config_info", &labels, 1.0, at(61.0));
    assert_eq!(
        b.build(at(61.0)).engine.kv_capacity_tokens.if_fresh(),
        Some(15_360.0)
    );
    b.sample("vllm:cache_config_info", &[("block_size", "None")], 1.0, at(62.0));
    assert_eq!(
        b.build(at(62.0)).engine.kv_capacity_tokens.if_fresh(),
        Some(15_360.0),
        "nothing usable"
    );
}

#[test]
fn what_a_version_should_export_and_does_not_is_named() {
    let mut b = builder();
    b.version("0.32.0");
    b.sample("vllm:num_requests_running", &[("engine", "0")], 0.0, at(1.0));
    b.page_complete(at(1.0));
    let missing = b.build(at(1.0)).engine.missing;
    assert!(
        missing.iter().any(|name| &**name == "vllm:kv_cache_usage_perc"),
        "{missing:?}"
    );
    assert!(!missing.iter().any(|name| &**name == "vllm:num_requests_running"));
}

#[test]
fn gpus_and_xids_by_index() {
    let mut b = builder();
    b.sample(
        "gpu_memory_used_bytes",
        &[("gpu", "1"), ("uuid", "GPU-x")],
        5e9,
        at(1.0),
    );
    b.sample(
        "gpu_xid_events_total",
        &[("gpu", "1"), ("xid", "79")],
        1.0,
        at(1.0),
    );
    b.sample(
        "gpu_throttle_seconds_total",
        &[("gpu", "1"), ("reason", "hw_thermal")],
        2.0,
        at(1.0),
    );
    b.sample(
        "gpu_throttle_seconds_total",
        &[("gpu", "1"), ("reason", "sw_thermal")],
        3.0,
        at(1.0),
    );
    b.gpu_lost("0", true);
    let gpus = b.build(at(1.0)).gpus;
    assert_eq!(gpus.len(), 2);
    assert_eq!(gpus[0].xids, [XidCount { code: 79, total: 1.0 }]);
    assert_eq!(gpus[0].thermal_throttle_secs_total.if_fresh(), Some(5.0));
    assert!(gpus[1].lost && !gpus[0].lost);
}

#[test]
fn a_series_of_no_use_is_looked_up_once_and_left() {
    let mut b = builder();
    assert!(!b.sample(
        "python_gc_objects_collected_total",
        &[("generation", "0")],
        1.0,
        at(1.0)
    ));
    assert_eq!(
        b.series("python_gc_objects_collected_total", &[("generation", "0")]),
        None
    );
    let running = b
        .series("vllm:num_requests_running", &[("engine", "0")])
        .expect("of use");
    assert_eq!(
        b.series("vllm:num_requests_running", &[("engine", "0")]),
        Some(running)
    );
}

#[test]
fn a_new_process_clears_the_end_of_the_old_one() {
    let mut b = builder();
    b.process_exit(Exit {
        at: at(1.0),
        code: Some(0),
        signal: None,
    });
    let ended = b.build(at(1.0)).process;
    assert_eq!(
        (ended.alive.if_fresh(), ended.exit.map(|e| e.code)),
        (Some(false), Some(Some(0)))
    );
    b.process_alive(true, at(2.0));
    assert_eq!(b.build(at(2.0)).process.exit, None);
}
