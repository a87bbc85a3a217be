//! A small run that contains every awkward value, with functions to write, compare and damage it.

use std::sync::Arc;

use vllm_metrics::{
    BatchRow, EngineRequestRow, EventRow, Manifest, MetricType, Outcome, Record, RequestRow, RunData, Sample,
    SampleBatch, SeriesDef, SeriesId, Severity, StepRow, Store, TimeSource,
};

/// 2025-06-01 12:00:00.123456789 UTC.
pub(crate) const START_NS: i64 = 1_748_779_200_123_456_789;
pub(crate) const STAMP: &str = "20250601_120000";

pub(crate) fn manifest() -> Manifest {
    Manifest {
        stamp: STAMP.into(),
        started_ns: START_NS,
        ended_ns: None,
        simulated: true,
        facts: [
            ("model", "tiny \"quoted\", ünïcode"),
            ("scenario", "Offline"),
            ("empty", ""),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
    }
}

pub(crate) fn ended() -> Manifest {
    Manifest {
        ended_ns: Some(START_NS + 60_000_000_000),
        ..manifest()
    }
}

fn def(
    name: &str,
    labels: &str,
    metric_type: MetricType,
    unit: &str,
    source: &str,
    url: &str,
) -> Arc<SeriesDef> {
    Arc::new(SeriesDef {
        metric_name: name.into(),
        labels: labels.into(),
        metric_type,
        unit: unit.into(),
        source: source.into(),
        endpoint_url: url.into(),
    })
}

/// Series with labels that need escaping in every format.
pub(crate) fn defs() -> Vec<Arc<SeriesDef>> {
    let url = "http://127.0.0.1:8000/metrics?a=1,2";
    vec![
        def(
            "vllm:num_requests_running",
            r#"{"engine":"0","model_name":"tiny"}"#,
            MetricType::Gauge,
            "",
            "vllm",
            url,
        ),
        def(
            "vllm:prompt_tokens_total",
            r#"{"engine":"0","model_name":"tiny"}"#,
            MetricType::Counter,
            "tokens",
            "vllm",
            url,
        ),
        def(
            "vllm:e2e_request_latency_seconds_bucket",
            r#"{"engine":"0","le":"+Inf"}"#,
            MetricType::Histogram,
            "seconds",
            "vllm",
            url,
        ),
        def(
            "odd",
            r#"{"backslash":"a\\b\\n","brace":"{}","comma":"a,b=\"c\"","line":"one\ntwo\r\nthree","unicode":"grün 🦀"}"#,
            MetricType::Unknown,
            "",
            "prometheus",
            "http://other:9100/metrics",
        ),
        // The same name and labels at another endpoint are another series.
        def(
            "vllm:num_requests_running",
            r#"{"engine":"0","model_name":"tiny"}"#,
            MetricType::Gauge,
            "",
            "vllm",
            "http://b/metrics",
        ),
        def(
            "gpu_power_watts",
            r#"{"gpu":"0"}"#,
            MetricType::Gauge,
            "watts",
            "nvml-simulated",
            "",
        ),
        def(
            "python_info",
            r#"{"version":"3.11.7"}"#,
            MetricType::Info,
            "",
            "vllm",
            url,
        ),
        def(
            "rpc_duration_seconds",
            r#"{"quantile":"0.5"}"#,
            MetricType::Summary,
            "seconds",
            "prometheus",
            "http://other:9100/metrics",
        ),
        def("no_labels", "{}", MetricType::Gauge, "", "host", ""),
    ]
}

/// Values that text formats tend to lose.
pub(crate) const VALUES: [f64; 14] = [
    0.0,
    -0.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    1.0,
    0.1,
    1e-320,
    f64::MAX,
    f64::MIN_POSITIVE,
    9_007_199_254_740_993.0,
    1_748_779_200.123_456_7,
    -1.5e300,
    123_456_789.0,
];

pub(crate) fn requests() -> Vec<RequestRow> {
    let bare = RequestRow {
        request_id: u64::MAX,
        sample_index: 0,
        batch_id: None,
        endpoint: 0,
        scheduled_ns: None,
        issued_ns: START_NS + 1,
        sent_ns: None,
        first_token_ns: None,
        done_ns: None,
        prompt_tokens: None,
        output_tokens: None,
        server_queue_ns: None,
        server_prefill_ns: None,
        server_decode_ns: None,
        server_time_source: None,
        outcome: Outcome::Unfinished,
        reason: None,
    };
    let full = RequestRow {
        request_id: 94_000_000_000_001,
        sample_index: 17,
        batch_id: Some(3),
        endpoint: 2,
        scheduled_ns: Some(START_NS + 2),
        issued_ns: START_NS + 3,
        sent_ns: Some(START_NS + 4),
        first_token_ns: Some(START_NS + 1_000_000_007),
        done_ns: Some(START_NS + 2_000_000_011),
        prompt_tokens: Some(0),
        output_tokens: Some(u32::MAX),
        server_queue_ns: Some(-1),
        server_prefill_ns: Some(5_000_000),
        server_decode_ns: Some(i64::MAX),
        server_time_source: Some(TimeSource::Server),
        outcome: Outcome::Completed,
        reason: Some("stop".into()),
    };
    let failed = RequestRow {
        outcome: Outcome::Failed,
        server_time_source: Some(TimeSource::Estimate),
        reason: Some("connect: \"refused\",\nthen gave up".into()),
        issued_ns: START_NS + 5,
        ..full.clone()
    };
    vec![bare, full, failed]
}

pub(crate) fn steps() -> Vec<StepRow> {
    let step = |step: u64| StepRow {
        step,
        engine: 1,
        timestamp_ns: START_NS + i64::try_from(step).expect("small") * 12_000_000,
        duration_ns: (step > 0).then_some(12_000_000),
        elapsed_ns: (step > 1).then_some(11_500_000),
        running: 3,
        waiting: 0,
        prefill_tokens: (step > 1).then_some(2048),
        decode_tokens: (step > 1).then_some(2),
        prompt_tokens: 17,
        generation_tokens: 3,
        preemptions: 1,
        // A third has no short text; some formats write 1.0 as an integer.
        kv_usage_ratio: [None, Some(1.0 / 3.0), Some(1.0)][usize::try_from(step).expect("small") % 3],
    };
    (0..5).map(step).collect()
}

pub(crate) fn engine_requests() -> Vec<EngineRequestRow> {
    let row = |server_request_id: &str, request_id: Option<u64>| EngineRequestRow {
        server_request_id: server_request_id.into(),
        request_id,
        engine: 0,
        done_ns: START_NS + 1,
        reason: "length".into(),
        prompt_tokens: 11,
        cached_tokens: 8,
        output_tokens: 12,
        preemptions: 0,
        e2e_ns: 1_500_000_000,
        queue_ns: 0,
        prefill_ns: 20_000_000,
        decode_ns: 1_400_000_000,
    };
    vec![
        row("cmpl-\"quoted\", with comma", None),
        row("cmpl-7-0", Some(u64::MAX)),
    ]
}

pub(crate) fn batches() -> Vec<BatchRow> {
    vec![
        BatchRow {
            batch_id: 0,
            issued_ns: START_NS,
            done_ns: None,
            requests: 8,
            output_tokens: None,
            failed: 8,
        },
        BatchRow {
            batch_id: 1,
            issued_ns: START_NS + 9,
            done_ns: Some(START_NS + 10),
            requests: 8,
            output_tokens: Some(1 << 40),
            failed: 0,
        },
    ]
}

pub(crate) fn events() -> Vec<EventRow> {
    vec![
        EventRow {
            timestamp_ns: START_NS,
            end_ns: None,
            kind: "phase".into(),
            severity: Severity::Info,
            source: "harness".into(),
            message: "warm-up, then \"load\"\nand the rest".into(),
            attributes: r#"{"phase":"warm-up"}"#.into(),
        },
        EventRow {
            timestamp_ns: START_NS + 7,
            end_ns: Some(START_NS + 8),
            kind: "gap".into(),
            severity: Severity::Error,
            source: "store".into(),
            message: "".into(),
            attributes: "{}".into(),
        },
    ]
}

/// Scrape number `tick`: every series except the last, which appears only occasionally.
pub(crate) fn scrape(tick: usize) -> SampleBatch {
    let start_ns = START_NS + tick as i64 * 1_000_000_000 + (tick as i64 * 7919) % 1_000;
    let defs = defs();
    let samples = (0..defs.len())
        .filter(|&at| at + 1 < defs.len() || tick.is_multiple_of(3))
        .map(|at| Sample {
            series: SeriesId(at as u32),
            timestamp_ns: start_ns,
            value: VALUES[(tick + at) % VALUES.len()],
        });
    SampleBatch {
        start_ns,
        // Without an end: nothing is added to what the tests expect.
        end_ns: start_ns,
        phase: if tick < 5 {
            ""
        } else if tick < 20 {
            "warm-up"
        } else {
            "run, \"measured\""
        }
        .into(),
        samples: samples.collect(),
    }
}

pub(crate) fn write_series(store: &mut dyn Store) {
    for (id, def) in defs().into_iter().enumerate() {
        store.write(Record::Series(SeriesId(id as u32), def)).unwrap();
    }
}

pub(crate) fn write_rows(store: &mut dyn Store) {
    requests()
        .into_iter()
        .for_each(|row| store.write(Record::Request(row)).unwrap());
    batches()
        .into_iter()
        .for_each(|row| store.write(Record::Batch(row)).unwrap());
    steps()
        .into_iter()
        .for_each(|row| store.write(Record::Step(row)).unwrap());
    engine_requests()
        .into_iter()
        .for_each(|row| store.write(Record::EngineRequest(row)).unwrap());
    events()
        .into_iter()
        .for_each(|row| store.write(Record::Event(row)).unwrap());
}

/// The expected result of reading back `ticks` scrapes and all rows.
pub(crate) fn expected(ticks: usize, manifest: Manifest) -> RunData {
    let mut series: Vec<vllm_metrics::SeriesData> = defs()
        .into_iter()
        .map(|def| vllm_metrics::SeriesData {
            def,
            timestamps_ns: vec![],
            values: vec![],
            phases: vec![],
        })
        .collect();
    for tick in 0..ticks {
        let batch = scrape(tick);
        for sample in batch.samples {
            let series = &mut series[sample.series.0 as usize];
            if series
                .phases
                .last()
                .is_none_or(|(_, phase)| *phase != batch.phase)
            {
                series
                    .phases
                    .push((series.values.len(), Arc::clone(&batch.phase)));
            }
            series.timestamps_ns.push(sample.timestamp_ns);
            series.values.push(sample.value);
        }
    }
    series.retain(|series| !series.values.is_empty());
    series.sort_by_key(|s| {
        (
            Arc::clone(&s.def.metric_name),
            Arc::clone(&s.def.labels),
            Arc::clone(&s.def.endpoint_url),
        )
    });
    RunData {
        manifest,
        series,
        requests: requests(),
        batches: batches(),
        steps: steps(),
        engine_requests: engine_requests(),
        events: events(),
        notes: Vec::new(),
    }
}

/// Equality down to the bits of every value; for `RunData`'s `PartialEq`, NaN differs from itself.
#[track_caller]
pub(crate) fn assert_same(found: &RunData, expected: &RunData) {
    assert_eq!(found.manifest, expected.manifest);
    assert_same_samples(found, expected);
    assert_eq!(found.requests, expected.requests);
    assert_eq!(found.batches, expected.batches);
    assert_eq!(found.steps, expected.steps);
    assert_eq!(found.engine_requests, expected.engine_requests);
    assert_eq!(found.events, expected.events);
}

/// The part of [`assert_same`] about samples.
#[track_caller]
pub(crate) fn assert_same_samples(found: &RunData, expected: &RunData) {
    let defs = |run: &RunData| run.series.iter().map(|s| Arc::clone(&s.def)).collect::<Vec<_>>();
    assert_eq!(defs(found), defs(expected));
    for (found, expected) in found.series.iter().zip(&expected.series) {
        assert_eq!(
            found.timestamps_ns, expected.timestamps_ns,
            "times of {:?}",
            expected.def
        );
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&found.values),
            bits(&expected.values),
            "values of {:?}: {:?}",
            expected.def,
            found.values
        );
        assert_eq!(found.phases, expected.phases, "phases of {:?}", expected.def);
    }
}
