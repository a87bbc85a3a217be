//! aiperf's `profile_export_aiperf.json`, schema 1.4. Latencies in milliseconds; their `inter_token_latency` is TPOT.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::figures::{Figures, Values};
use crate::analysis::Analysis;

/// Version of the shape that is written.
const SCHEMA_VERSION: &str = "1.4";

pub(super) fn of(analysis: &Analysis<'_>) -> Value {
    let figures = Figures::of(analysis);
    let record = analysis.record();
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("schema_version", json!(SCHEMA_VERSION));
    put("benchmark_id", json!(record.manifest.stamp));
    // `input_config` is aiperf's own configuration, which this run did not have.
    put("recorded_facts", json!(super::recorded_facts(record)));
    let interrupted = analysis
        .judged
        .as_ref()
        .and_then(|judged| judged.interrupted.clone());
    put("was_cancelled", json!(interrupted.is_some()));
    put(
        "is_complete",
        json!(interrupted.is_none() && record.manifest.ended_ns.is_some()),
    );
    put("incomplete_reason", json!(interrupted));
    put("error_summary", errors(analysis));
    put("start_time", time(figures.start_ns));
    put("end_time", time(figures.end_ns));

    for (key, scale, unit, values) in [
        ("time_to_first_token", 1e3, "ms", figures.ttft()),
        ("inter_token_latency", 1e3, "ms", figures.tpot()),
        ("request_latency", 1e3, "ms", figures.latency()),
        ("output_sequence_length", 1.0, "tokens", figures.output_lengths()),
        ("input_sequence_length", 1.0, "tokens", figures.input_lengths()),
        (
            "output_token_throughput_per_user",
            1.0,
            "tokens/sec/user",
            figures.values(|row| Some(1.0 / vllm_metrics::derive::latency::tpot_secs(row)?)),
        ),
    ] {
        if values.count() > 0 {
            put(key, distribution(&values, scale, unit));
        }
    }
    let secs = |ns: Option<i64>| ns.map(|ns| ns as f64);
    let tokens = |tokens: Option<u64>| tokens.map(|tokens| tokens as f64);
    let completed = figures.completed.len() as f64;
    for (key, unit, value) in [
        (
            "request_throughput",
            "requests/sec",
            figures.per_second(completed),
        ),
        ("request_count", "requests", Some(completed)),
        (
            "error_request_count",
            "requests",
            Some((figures.failed + figures.unfinished) as f64),
        ),
        (
            "output_token_throughput",
            "tokens/sec",
            tokens(figures.output_tokens).and_then(|tokens| figures.per_second(tokens)),
        ),
        ("total_output_tokens", "tokens", tokens(figures.output_tokens)),
        ("total_osl", "tokens", tokens(figures.output_tokens)),
        ("total_isl", "tokens", tokens(figures.input_tokens)),
        ("benchmark_duration", "sec", Some(figures.duration_secs)),
        ("goodput", "requests/sec", figures.goodput_per_second),
        (
            "good_request_count",
            "requests",
            figures.good_requests.map(|good| good as f64),
        ),
        ("min_request_timestamp", "ns", secs(figures.start_ns)),
        ("max_response_timestamp", "ns", secs(figures.end_ns)),
    ] {
        if let Some(value) = value {
            put(key, json!({ "unit": unit, "avg": value }));
        }
    }
    Value::Object(out)
}

fn distribution(values: &Values, scale: f64, unit: &str) -> Value {
    let scaled = |value: Option<f64>| json!(value.map(|value| value * scale));
    let mut out = Map::new();
    out.insert("unit".into(), json!(unit));
    out.insert("avg".into(), scaled(values.mean()));
    for percent in [1, 5, 10, 25, 50, 75, 90, 95, 99] {
        out.insert(
            format!("p{percent}"),
            scaled(values.quantile(f64::from(percent) / 100.0)),
        );
    }
    out.insert("min".into(), scaled(values.min()));
    out.insert("max".into(), scaled(values.max()));
    out.insert("std".into(), scaled(values.std()));
    out.insert("count".into(), json!(values.count()));
    out.insert("sum".into(), json!(values.sum() * scale));
    Value::Object(out)
}

/// Failed requests by what the server or the client said.
fn errors(analysis: &Analysis<'_>) -> Value {
    let mut kinds: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    let failed = analysis
        .record()
        .requests
        .iter()
        .filter(|row| row.outcome != vllm_metrics::Outcome::Completed);
    for row in failed {
        let reason = row.reason.as_deref().unwrap_or(row.outcome.as_str());
        *kinds.entry(reason).or_default() += 1;
    }
    let entry = |(reason, count): (&str, usize)| json!({ "error_details": { "type": reason, "message": reason }, "count": count });
    Value::Array(kinds.into_iter().map(entry).collect())
}

/// ISO 8601 without a zone, in UTC, as aiperf writes it.
fn time(ns: Option<i64>) -> Value {
    let text = ns.and_then(|ns| {
        let time = Timestamp::from_nanosecond(i128::from(ns)).ok()?;
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
        Some(zoned.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string())
    });
    json!(text)
}
