//! The statistical summary of a run as strict JSON: per series, per metric, requests, phases, and what was missing.

mod key;
mod metrics;
mod own_cost;
mod requests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use vllm_metrics::derive::goodput::Limits;
use vllm_metrics::derive::{CustomMetric, align, custom, engine};
use vllm_metrics::{RunData, SeriesData, Severity};

use crate::RenderOptions;
use crate::outcome::Outcome;
use crate::query::View;
use crate::stats::{self, Stats};

/// Version of the summary's shape; raised when a key changes its meaning or goes away.
pub const SCHEMA: &str = "vllm-metrics-summary/2";

/// The complete summary of a run.
pub(crate) fn of(view: &View<'_>, options: &RenderOptions) -> Value {
    let run = view.run;
    let frame = &view.frame;
    let told = Limits::of_manifest(&run.manifest);
    let limits = options.goodput.as_ref().or(told.as_ref());
    let view_outcome = Outcome::of(view, options.outcome.as_ref());
    let records: usize = run.series.iter().map(|s| s.values.len()).sum();
    json!({
        "schema": SCHEMA,
        "definitions": stats::DEFINITIONS.iter().copied().collect::<BTreeMap<_, _>>(),
        "file_path": options.input,
        "outcome": view_outcome,
        "stamp": run.manifest.stamp,
        "simulated": view.simulated,
        "facts": run.manifest.facts,
        "time_range": {
            "start": rfc3339(frame.start_ns),
            "end": rfc3339(frame.end_ns),
            "start_ns": frame.start_ns,
            "end_ns": frame.end_ns,
            "duration_secs": secs(frame.duration_ns()),
        },
        "total_records": records,
        "total_series": run.series.len(),
        "scrapes": frame.cadences.iter().map(|c| json!({
            "source": &*c.source,
            "endpoint_url": &*c.endpoint_url,
            "count": c.timestamps_ns.len(),
            "interval_secs": c.interval_ns().map(secs),
            "gaps": frame.gaps_of(c).iter().map(|g| span(g.0, g.1)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "gaps": frame.gaps.iter().map(|g| span(g.0, g.1)).collect::<Vec<_>>(),
        "missing": missing(run),
        "event_counts": event_counts(run),
        "phases": frame.phases.iter().map(|p| {
            let mut entry = span(p.start_ns, p.end_ns);
            entry["name"] = Value::from(&*p.name);
            entry
        }).collect::<Vec<_>>(),
        "key_metrics": key::of(view),
        "requests": requests::of(view),
        "goodput": limits.map(|limits| requests::goodput_of(&run.requests, limits)),
        "totals": metrics::derived(view),
        "custom_metrics": custom_metrics(view),
        "bucket_fitness": engine::bucket_fitness(view.analysis.histograms()).iter().map(|e| json!({
            "message": &*e.message,
            "details": labels_value(&e.attributes),
        })).collect::<Vec<_>>(),
        "energy": energy(run),
        "metrics": metrics::all(view, |s| &*s.def.source != "self"),
        "own_cost": own_cost::of(run),
        "collection_cost": metrics::all(view, |s| &*s.def.source == "self"),
        "notes": run.notes,
    })
}

/// Energy of the measured window with its error, or why there is none.
fn energy(run: &RunData) -> Value {
    match vllm_metrics::energy::report(run) {
        Ok(report) => report.to_json(),
        Err(why) => json!({ "unavailable": why.to_string() }),
    }
}

fn rfc3339(nanos: i64) -> Value {
    Timestamp::from_nanosecond(i128::from(nanos)).map_or(Value::Null, |t| Value::from(t.to_string()))
}

fn secs(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

fn span(start_ns: i64, end_ns: i64) -> Value {
    json!({ "start": rfc3339(start_ns), "end": rfc3339(end_ns), "duration_secs": secs(end_ns - start_ns) })
}

/// Largest number of listed events per kind; `event_counts` has the totals.
const LISTED_PER_KIND: usize = 100;

/// Number of events of each kind.
fn event_counts(run: &RunData) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for event in &run.events {
        *counts.entry(&*event.kind).or_default() += 1;
    }
    counts
}

/// Events about missing data or errors, in time order; the first [`LISTED_PER_KIND`] of each kind.
fn missing(run: &RunData) -> Vec<Value> {
    let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
    run.events
        .iter()
        .filter(|e| e.severity >= Severity::Warning)
        .filter(|e| {
            let listed = listed.entry(&*e.kind).or_default();
            *listed += 1;
            *listed <= LISTED_PER_KIND
        })
        .map(|e| {
            json!({
                "kind": &*e.kind,
                "severity": e.severity.as_str(),
                "source": &*e.source,
                "start": rfc3339(e.timestamp_ns),
                "end": e.end_ns.map_or(Value::Null, rfc3339),
                "message": &*e.message,
            })
        })
        .collect()
}

/// The user's own metrics, or the reason why this run has no series for one.
fn custom_metrics(view: &View<'_>) -> Value {
    let run = view.run;
    // A sum over servers has the times of all of them, which are closer together than scrapes.
    let step = |series: &SeriesData| {
        let own = align::median_interval_ns(&series.timestamps_ns);
        own.max(view.frame.scrape_interval_ns())
            .map_or(i64::MAX, align::longest_step_ns)
    };
    let mut out = Map::new();
    for metric in CustomMetric::of_manifest(&run.manifest) {
        let (series, events) = custom::evaluate(run, std::slice::from_ref(&metric));
        let mut entry = match events.first() {
            Some(why) => json!({ "unavailable": &*why.message }),
            None => json!({
                "unit": metric.unit,
                "series": series
                    .iter()
                    .map(|s| metrics::with_identity(s, json!(Stats::of_gauge(&s.timestamps_ns, &s.values, step(s)))))
                    .collect::<Vec<_>>(),
            }),
        };
        entry["expression"] = Value::from(metric.expression.to_string());
        out.insert(metric.name, entry);
    }
    Value::Object(out)
}

fn labels_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}
