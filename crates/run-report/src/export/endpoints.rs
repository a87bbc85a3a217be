//! `performance/result_summary.json` of MLPerf Endpoints. Times in nanoseconds; a series without values is `{}`.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use super::figures::{Figures, Values};
use crate::analysis::Analysis;

const PERCENTILES: [f64; 12] = [
    1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 80.0, 90.0, 95.0, 97.0, 99.0, 99.9,
];
/// Buckets of each histogram, equally wide from the smallest to the largest value.
const BUCKETS: usize = 30;

pub(super) fn of(analysis: &Analysis<'_>) -> Value {
    let figures = Figures::of(analysis);
    let record = analysis.record();
    let window_ns = figures
        .start_ns
        .zip(figures.end_ns)
        .map(|(start, end)| end - start);
    let per_window = |amount: f64| {
        window_ns
            .filter(|ns| *ns > 0)
            .map(|ns| amount / (ns as f64 / 1e9))
    };
    let completed = figures.completed.len();
    // With arrivals at random times a rate counts intervals between requests.
    let counted = if analysis.run.facts.scenario.is_scheduled() {
        completed.saturating_sub(1)
    } else {
        completed
    };
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &figures.completed {
        if let Some(reason) = row.reason.as_deref() {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let complete = record.manifest.ended_ns.is_some()
        && analysis
            .judged
            .as_ref()
            .is_none_or(|judged| judged.interrupted.is_none());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_sha": null,
        "test_started_at": figures.start_ns.unwrap_or(record.manifest.started_ns),
        "n_samples_issued": record.requests.len(),
        "n_samples_completed": completed,
        "n_samples_failed": figures.failed,
        "duration_ns": window_ns,
        "state": if complete { "complete" } else { "interrupted" },
        "complete": complete,
        "ttft": series(&figures.ttft(), 1e9),
        "tpot": series(&figures.tpot(), 1e9),
        "latency": series(&figures.latency(), 1e9),
        "output_sequence_lengths": series(&figures.output_lengths(), 1.0),
        "input_sequence_lengths": series(&figures.input_lengths(), 1.0),
        "legacy_loadgen_window_duration_ns": null,
        "qps": per_window(counted as f64),
        "tps": figures.output_tokens.and_then(|tokens| per_window(tokens as f64)),
        "finish_reason_counts": reasons,
        "run_config": super::recorded_facts(record),
    })
}

fn series(values: &Values, scale: f64) -> Value {
    if values.count() == 0 {
        return json!({});
    }
    let scaled = |value: Option<f64>| json!(value.map(|value| value * scale));
    let percentiles: Map<String, Value> = PERCENTILES
        .iter()
        .map(|percent| (percent.to_string(), scaled(values.quantile(percent / 100.0))))
        .collect();
    json!({
        "total": values.sum() * scale,
        "min": scaled(values.min()),
        "max": scaled(values.max()),
        "median": scaled(values.quantile(0.5)),
        "avg": scaled(values.mean()),
        "std_dev": scaled(values.std()),
        "percentiles": percentiles,
        "histogram": histogram(values.sorted(), scale),
    })
}

fn histogram(sorted: &[f64], scale: f64) -> Value {
    let (low, high) = (sorted[0] * scale, sorted[sorted.len() - 1] * scale);
    let width = (high - low) / BUCKETS as f64;
    if width <= 0.0 {
        return json!({ "buckets": [[low, high]], "counts": [sorted.len()] });
    }
    let mut counts = vec![0_usize; BUCKETS];
    for value in sorted {
        let bucket = ((value * scale - low) / width) as usize;
        counts[bucket.min(BUCKETS - 1)] += 1;
    }
    let edge = |i: usize| low + width * i as f64;
    let buckets: Vec<[f64; 2]> = (0..BUCKETS).map(|i| [edge(i), edge(i + 1)]).collect();
    json!({ "buckets": buckets, "counts": counts })
}
