//! Server times from histograms against the times that the server reported for each request, on recorded runs
//! of a real vLLM 0.32: Offline with all requests at once, and Server, each with intervals of 1 s and 0.2 s.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::sync::Arc;

use run_analysis::derive::join::{Joined, server_times};
use run_model::{MetricType, Outcome, RequestRow, RunData, SeriesData, SeriesDef};

const FAMILIES: [&str; 3] = [
    "vllm:request_queue_time_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
];

/// A recorded run without the reported times, and those times in seconds.
struct Recorded {
    run: RunData,
    reported: Vec<[f64; 3]>,
}

fn read(text: &str) -> Recorded {
    let mut times = Vec::new();
    let mut columns: [Vec<f64>; 4] = Default::default();
    let (mut requests, mut reported) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        let kind = words.next().unwrap();
        let values: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
        match kind {
            "s" => {
                times.push(values[0] as i64);
                for (column, value) in columns.iter_mut().zip(&values[1..]) {
                    column.push(*value);
                }
            }
            "r" => {
                requests.push(request(requests.len() as u64, &values));
                reported.push([values[3] / 1e9, values[4] / 1e9, values[5] / 1e9]);
            }
            _ => assert_eq!(kind, "#"),
        }
    }
    let series = |name: String, labels: &str, values: &[f64]| SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type: MetricType::Histogram,
            unit: "seconds".into(),
            source: "vllm".into(),
            endpoint_url: "a".into(),
        }),
        timestamps_ns: times.clone(),
        values: values.to_vec(),
        phases: Vec::new(),
    };
    let [counts, sums @ ..] = &columns;
    let series = FAMILIES.iter().zip(sums).flat_map(|(name, sums)| {
        [
            series(format!("{name}_bucket"), r#"{"le":"+Inf"}"#, counts),
            series(format!("{name}_count"), "{}", counts),
            series(format!("{name}_sum"), "{}", sums),
        ]
    });
    Recorded {
        run: RunData {
            series: series.collect(),
            requests,
            ..RunData::default()
        },
        reported,
    }
}

fn request(request_id: u64, values: &[f64]) -> RequestRow {
    RequestRow {
        request_id,
        sample_index: 0,
        batch_id: None,
        endpoint: 0,
        scheduled_ns: None,
        issued_ns: values[0] as i64,
        sent_ns: Some(values[0] as i64),
        first_token_ns: Some(values[1] as i64),
        done_ns: Some(values[2] as i64),
        prompt_tokens: None,
        output_tokens: None,
        server_queue_ns: None,
        server_prefill_ns: None,
        server_decode_ns: None,
        server_time_source: None,
        outcome: Outcome::Completed,
        reason: None,
    }
}

/// Relative errors of the given times, ascending; a microsecond more or less is the rounding of the reported
/// ones.
fn errors(joined: &Joined, reported: &[[f64; 3]]) -> Vec<f64> {
    let mut errors = Vec::new();
    for (request, reported) in joined.requests.iter().zip(reported) {
        let given = [
            request.server_queue_ns,
            request.server_prefill_ns,
            request.server_decode_ns,
        ];
        for (given, reported) in given.into_iter().zip(reported) {
            if let Some(ns) = given {
                let off = (ns as f64 / 1e9 - reported).abs();
                errors.push((off - 1e-6).max(0.0) / reported);
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    errors
}

#[test]
fn recorded_runs_of_both_regimes() {
    for (name, text, given) in [
        ("Offline, 1 s", include_str!("server_times/offline_1s.txt"), 1),
        (
            "Offline, 0.2 s",
            include_str!("server_times/offline_200ms.txt"),
            1,
        ),
        ("Server, 1 s", include_str!("server_times/server_1s.txt"), 19),
        ("Server, 0.2 s", include_str!("server_times/server_200ms.txt"), 85),
    ] {
        let recorded = read(text);
        let joined = server_times(&recorded.run);
        assert_eq!(joined.estimated, given, "{name}");
        let errors = errors(&joined, &recorded.reported);
        assert_eq!(errors.len(), 3 * given, "{name}");
        assert!(
            errors.last().is_some_and(|worst| *worst < 0.01),
            "{name}: {errors:?}"
        );
        let means = joined.means.unwrap();
        let reported = |family: usize| {
            let sum: f64 = recorded.reported.iter().map(|times| times[family]).sum();
            sum / recorded.reported.len() as f64
        };
        for (given, family) in [means.queue_secs, means.prefill_secs, means.decode_secs]
            .into_iter()
            .zip(0..)
        {
            let error = (given / reported(family) - 1.0).abs();
            assert!(error < 1e-3, "{name}: mean of {}: {error}", FAMILIES[family]);
        }
    }
}

#[test]
fn another_clients_requests_leave_nothing() {
    let mut recorded = read(include_str!("server_times/server_200ms.txt"));
    // As if one of the requests had been another client's.
    recorded.run.requests.remove(40);
    let joined = server_times(&recorded.run);
    assert_eq!((joined.estimated, joined.means), (0, None));
    assert!(joined.no_means.is_some_and(|why| why.contains("completed 127")));
}
