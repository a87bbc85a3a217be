use super::*;
use crate::message::{FinishReason, Finished};

const LIMIT: Duration = Duration::from_secs(20);

fn watch(ring_words: usize) -> Watch {
    let config = WatchConfig {
        ring_words,
        ..WatchConfig::new("in-process", Settings::default())
    };
    Watch::start(config).expect("a thread can be had")
}

fn step(at_ns: i64, running: u32) -> Step {
    Step {
        at_ns,
        running,
        is_step: true,
        has_output: true,
        generation_tokens: running,
        kv_usage_ratio: 0.25,
        ..Step::default()
    }
}

#[test]
fn what_was_recorded_is_in_the_status_at_once() {
    let watch = watch(1 << 12);
    for _ in 0..10 {
        watch.record(|now_ns, call| {
            call.step(&step(now_ns, 2));
            call.inter_token(0, 2, [0.01, 0.02].into_iter());
            Ok(())
        });
    }
    watch.record(|now_ns, call| {
        call.step(&step(now_ns, 0));
        call.finished(
            now_ns,
            &Finished {
                engine: 0,
                request_id: "cmpl-1-0",
                reason: FinishReason::Length,
                prompt_tokens: 3,
                generation_tokens: 10,
                preemptions: 0,
                cached_tokens: 0,
                e2e_secs: 0.2,
                queued_secs: 0.01,
                prefill_secs: 0.02,
                decode_secs: 0.1,
            },
        );
        Ok(())
    });
    let status = watch.status(LIMIT).expect("the thread answers");
    assert!(status.monitor_active && status.engine_attached && status.healthy);
    assert_eq!((status.counters.steps, status.tokens_generated), (11, 20));
    assert_eq!(
        (status.completed_requests, status.inter_token_latency.count),
        (1, 20)
    );
    assert_eq!(status.kv_cache_usage, Some(0.25));
    let page = watch.page(LIMIT).expect("the thread answers");
    assert!(
        page.contains("vllm:monitor_tokens_generated_total 20.0"),
        "{page}"
    );
    assert!(
        page.contains("vllm:monitor_inter_token_latency_seconds_count{engine=\"0\"} 20.0"),
        "{page}"
    );
    watch.finish();
    let status = watch.status(LIMIT).expect("the last one stays");
    assert!(!status.monitor_active);
}

#[test]
fn failures_and_panics_stay_inside_and_end_in_silence() {
    let watch = watch(1 << 12);
    watch.record(|_, call| {
        call.step(&step(0, 1));
        Err(Fault("no such attribute".into()))
    });
    for _ in 1..FAULTS_ALLOWED {
        watch.record(|_, _| panic!("on purpose"));
    }
    let mut called = false;
    watch.record(|_, _| {
        called = true;
        Ok(())
    });
    assert!(!called, "a silent watch does not look at what it is given");
    let status = watch.status(LIMIT).expect("the thread answers");
    assert_eq!((status.faults, status.counters.steps), (FAULTS_ALLOWED, 0));
    assert!(status.silenced && !status.monitor_active);
    assert_eq!(status.last_fault.as_deref(), Some("panic: on purpose"));
}

#[test]
fn every_step_and_request_is_in_the_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = WatchConfig {
        output_dir: Some(folder.path().to_path_buf()),
        facts: [("model".to_owned(), "tiny".to_owned())].into(),
        ..WatchConfig::new("in-process", Settings::default())
    };
    let watch = Watch::start(config).expect("a thread and files can be had");
    for number in 0..100 {
        watch.record(|now_ns, call| {
            call.step(&step(now_ns, if number < 99 { 2 } else { 0 }));
            call.inter_token(0, 2, [0.010, 0.020].into_iter());
            Ok(())
        });
    }
    watch.record(|now_ns, call| {
        call.finished(
            now_ns,
            &Finished {
                engine: 0,
                request_id: "cmpl-7-0-abcdef01",
                reason: FinishReason::Stop,
                prompt_tokens: 3,
                generation_tokens: 198,
                preemptions: 0,
                cached_tokens: 0,
                e2e_secs: 0.25,
                queued_secs: 0.0,
                prefill_secs: 0.05,
                decode_secs: 0.2,
            },
        );
        Ok(())
    });
    watch.finish();
    let run = vllm_metrics::read_run(folder.path()).expect("the record reads back");
    assert_eq!(run.steps.len(), 100);
    assert!(run.steps.iter().zip(0..).all(|(row, number)| row.step == number));
    assert_eq!(
        run.steps
            .iter()
            .map(|row| u64::from(row.generation_tokens))
            .sum::<u64>(),
        198
    );
    let busy_ns: i64 = run.steps.iter().filter_map(|row| row.duration_ns).sum();
    assert_eq!(busy_ns, run.steps[99].timestamp_ns - run.steps[0].timestamp_ns);
    let [request] = &run.engine_requests[..] else {
        panic!("one request")
    };
    assert_eq!((request.request_id, request.e2e_ns), (Some(7), 250_000_000));
    assert_eq!(run.manifest.facts.get("model").map(String::as_str), Some("tiny"));
    let count = |labels: &str| {
        let series = run.series.iter().find(|series| {
            &*series.def.metric_name == "vllm:monitor_inter_token_latency_seconds_bucket"
                && &*series.def.labels == labels
        });
        series.map(|series| series.values.clone())
    };
    assert_eq!(count(r#"{"engine":"0","le":"+Inf"}"#), Some(vec![200.0]));
}

#[test]
fn latencies_are_written_before_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = WatchConfig {
        output_dir: Some(folder.path().to_path_buf()),
        latencies_every: Duration::ZERO,
        ..WatchConfig::new("in-process", Settings::default())
    };
    let watch = Watch::start(config).expect("a thread and files can be had");
    watch.record(|now_ns, call| {
        call.step(&step(now_ns, 2));
        call.inter_token(0, 2, [0.010, 0.020].into_iter());
        Ok(())
    });
    watch.status(LIMIT).expect("the thread answers");
    watch.finish();
    let run = vllm_metrics::read_run(folder.path()).expect("the record reads back");
    let series = run
        .series
        .iter()
        .find(|series| &*series.def.metric_name == "vllm:monitor_inter_token_latency_seconds_count")
        .expect("the histogram");
    // One of them is that of the end.
    assert!(series.values.len() > 1, "{:?}", series.values);
    assert_eq!(series.values.last(), Some(&2.0));
}

#[test]
fn a_record_that_cannot_be_written_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    let config = WatchConfig {
        output_dir: Some(file.join("below")),
        ..WatchConfig::new("in-process", Settings::default())
    };
    assert!(matches!(Watch::start(config), Err(Error::Recorder(_))));
}

#[test]
fn a_full_ring_drops_and_counts() {
    let watch = watch(8);
    for _ in 0..3 {
        watch.record(|now_ns, call| {
            call.step(&step(now_ns, 1));
            Ok(())
        });
    }
    let status = watch.status(LIMIT).expect("the thread answers");
    assert_eq!((status.dropped_messages, status.counters.steps), (3, 0));
}
