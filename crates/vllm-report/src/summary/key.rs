//! The eight key metrics, each at a fixed place independent of its source, or the reason why it is missing.

use serde_json::{Map, Value, json};
use vllm_metrics::derive::{labels, names};
use vllm_metrics::{MetricType, Outcome, SeriesData};

use super::metrics;
use crate::query::View;

/// All eight, in this order.
pub(super) fn of(view: &View<'_>) -> Value {
    let mut out = Map::new();
    for (name, unit, entry) in [
        (
            "vllm:num_requests_running",
            "requests",
            engine(view, "vllm:num_requests_running"),
        ),
        (
            "vllm:generation_tokens_total",
            "tokens",
            engine(view, "vllm:generation_tokens_total"),
        ),
        (
            "vllm:request_success_total",
            "requests",
            by_label(
                view,
                &view.engine("vllm:request_success_total"),
                "finished_reason",
            ),
        ),
        ("vllm:request_failure_total", "requests", failures(view)),
        ("vllm:request_latency", "seconds", latency(view)),
        (
            "vllm:gpu_utilization",
            "ratio",
            gauges(
                view,
                &view.gpu_utilization(),
                "no GPU sampler and no GPU exporter gave a value",
            ),
        ),
        (
            "vllm:gpu_memory_used",
            "bytes",
            gauges(
                view,
                &view.gpu_memory(),
                "no GPU sampler and no GPU exporter gave a value",
            ),
        ),
        (
            "vllm:kv_cache_usage_ratio",
            "ratio",
            gauges(view, &view.kv_cache(), NOT_EXPOSED),
        ),
    ] {
        let mut entry = entry;
        entry["unit"] = Value::from(unit);
        out.insert(name.to_owned(), entry);
    }
    Value::Object(out)
}

const NOT_EXPOSED: &str = "the server exposed no such metric";

fn unavailable(why: &str) -> Value {
    json!({ "unavailable": why })
}

fn engine(view: &View<'_>, name: &str) -> Value {
    let series = view.engine(name);
    let Some(first) = series.first() else {
        return unavailable(NOT_EXPOSED);
    };
    let mut entry = metrics::aggregate(view, &series);
    entry["from"] = Value::from(&*first.def.metric_name);
    entry
}

fn gauges(view: &View<'_>, series: &[SeriesData], why_not: &str) -> Value {
    let all: Vec<&SeriesData> = series.iter().collect();
    let Some(first) = all.first() else {
        return unavailable(why_not);
    };
    let mut entry = metrics::aggregate(view, &all);
    let from = labels::parse(&first.def.labels).remove("derived_from");
    entry["from"] = Value::from(from.unwrap_or_else(|| first.def.metric_name.to_string()));
    entry
}

/// The total of a counter, and its values by one label.
fn by_label(view: &View<'_>, series: &[&SeriesData], label: &str) -> Value {
    let Some(first) = series.first() else {
        return unavailable(NOT_EXPOSED);
    };
    let mut entry = metrics::aggregate(view, series);
    entry["from"] = Value::from(&*first.def.metric_name);
    entry[format!("by_{label}")] = split(view, series, label);
    entry
}

fn split(view: &View<'_>, series: &[&SeriesData], label: &str) -> Value {
    let mut groups: std::collections::BTreeMap<String, Vec<&SeriesData>> = std::collections::BTreeMap::new();
    for series in series {
        let value = labels::parse(&series.def.labels)
            .remove(label)
            .unwrap_or_default();
        groups.entry(value).or_default().push(series);
    }
    let increases = groups.into_iter().map(|(value, series)| {
        let increase = metrics::aggregate(view, &series)["increase"].take();
        (value, increase)
    });
    Value::Object(increases.collect())
}

/// Failures by the party that observed them. The kinds overlap, so there is no sum.
fn failures(view: &View<'_>) -> Value {
    let mut derived = Vec::new();
    names::append(view.run, &[], &mut derived);
    let counters: Vec<&SeriesData> = derived
        .iter()
        .filter(|s| s.def.metric_type == MetricType::Counter)
        .collect();
    if counters.is_empty() {
        return unavailable("no counter of failed requests, no answers of HTTP 5xx and no request rows");
    }
    let mut by_reason = split(view, &counters, "reason");
    if !view.run.requests.is_empty() {
        // Every request has a row, so zero failures is also known.
        let failed = view.run.requests.iter().filter(|r| r.outcome == Outcome::Failed);
        by_reason["client"] = Value::from(failed.count());
    }
    json!({
        "how": "none",
        "unavailable": "client, HTTP layer and engine can see the same failure, so their counts are not added",
        "by_reason": by_reason,
    })
}

/// From arrival at the server to its last token, as the server observed it.
fn latency(view: &View<'_>) -> Value {
    let family = view.engine_family("vllm:e2e_request_latency_seconds");
    let Some(first) = family.first() else {
        return unavailable(NOT_EXPOSED);
    };
    let mut entry = metrics::together(view, &family);
    entry["from"] = Value::from(first.name.as_str());
    entry
}
