//! Derives rates, interval quantiles, and the names that dashboards expect from stored rows.
//!
//! Pure functions over [`RunData`]: nothing here reads a file or a clock, and the input is never changed.
//!
//! [`process`] adds, per source series:
//!
//! | source | derived series | unit |
//! |---|---|---|
//! | counter `X` | `X_increase` (since the previous sample), `X_per_second` | `X`'s, `X`'s per second |
//! | histogram `H` | `H_interval_count`, `H_interval_mean`, `H_p50_estimate` … `H_p99_estimate` | observations, `H`'s |
//! | see [`names`] | `vllm:request_latency`, `vllm:gpu_utilization`, … | base units |
//! | a GPU exporter's series | the GPU sampler's names, see [`exporters`] | base units |
//! | see [`engine`] | `vllm:engine_steps_per_second`, `vllm:kv_pressure_ratio`, … | base units |
//! | see [`totals`] | `vllm:tokens_per_second`, `vllm:prefix_cache_hit_ratio`, … | base units |
//!
//! The `source` of every derived series is `derived` (`derived-simulated` for simulated data). Series with a
//! new name have the label `derived_from`.

pub mod align;
pub mod counter;
#[cfg(feature = "expressions")]
pub mod custom;
pub mod engine;
pub mod estimate;
pub mod exporters;
#[cfg(feature = "expressions")]
pub mod expression;
pub mod goodput;
pub mod histogram;
pub mod interval;
pub mod join;
pub mod latency;
pub mod names;
pub mod quantile;
pub mod series;
pub mod totals;
pub mod window;

use std::sync::Arc;

#[cfg(feature = "expressions")]
pub use custom::{CustomMetric, CustomMetricError};
pub use run_model::labels;

use histogram::Histogram;
use join::Joined;
use run_model::EventKind;
use run_model::{EventRow, MetricType, RunData, SeriesData, Severity};

/// Quantiles of each interval of a histogram, with the suffixes of their series' names.
pub const INTERVAL_QUANTILES: &[(f64, &str)] = &[
    (0.5, "p50_estimate"),
    (0.9, "p90_estimate"),
    (0.95, "p95_estimate"),
    (0.99, "p99_estimate"),
];

/// Derives all series of this module from `run`.
///
/// The result has the same manifest, only the derived series (sorted as in any run), no requests and no
/// batches. Its events report counter resets and unsuitable buckets. The input is not changed.
pub fn process(run: &RunData) -> RunData {
    let histograms = histogram::collect(run);
    derive(
        run,
        &histograms,
        &exporters::mapped(run),
        &deployment(run, &histograms),
    )
}

/// Series of the whole deployment and of the engine's steps.
pub(crate) fn deployment(run: &RunData, histograms: &[Histogram]) -> Vec<SeriesData> {
    let mut out = Vec::new();
    totals::append(run, &mut out);
    engine::append(run, histograms, &mut out);
    out.retain(|series| !series.timestamps_ns.is_empty());
    out
}

/// Like [`process`], using data already derived from the run.
pub(crate) fn derive(
    run: &RunData,
    histograms: &[Histogram],
    exported: &[SeriesData],
    deployment: &[SeriesData],
) -> RunData {
    let mut out = Vec::new();
    let mut events = Vec::new();
    for series in &run.series {
        if series.def.metric_type == MetricType::Counter {
            let steps = counter::steps(&series.timestamps_ns, &series.values);
            counter::append(series, &steps, &mut out);
            events.extend(
                steps
                    .iter()
                    .filter(|s| s.reset)
                    .map(|s| reset_event(series, s.end_ns)),
            );
        }
    }
    for histogram in histograms {
        histogram::append(histogram, &histogram.name, None, &mut out);
    }
    names::append(run, histograms, &mut out);
    out.extend_from_slice(exported);
    out.extend_from_slice(deployment);
    events.extend(engine::bucket_fitness(histograms));
    out.retain(|s| !s.timestamps_ns.is_empty());
    series::sort(&mut out);
    events.sort_by_key(|e| e.timestamp_ns);
    RunData {
        manifest: run.manifest.clone(),
        series: out,
        events,
        ..RunData::default()
    }
}

/// Adds the requests if any of them gained an estimate.
pub(crate) fn with_requests(mut out: RunData, joined: &Joined) -> RunData {
    if joined.estimated > 0 {
        out.requests.clone_from(&joined.requests);
    }
    out
}

#[cfg(feature = "expressions")]
pub(crate) fn with_custom(run: &RunData, mut out: RunData, custom: &[CustomMetric]) -> RunData {
    let (series, events) = custom::evaluate(run, custom);
    out.series.extend(series);
    out.events.extend(events);
    series::sort(&mut out.series);
    out.events.sort_by_key(|e| e.timestamp_ns);
    out
}

fn reset_event(series: &SeriesData, at_ns: i64) -> EventRow {
    let attributes = serde_json::json!({
        "metric_name": &*series.def.metric_name,
        "labels": &*series.def.labels,
        "endpoint_url": &*series.def.endpoint_url,
    });
    EventRow {
        timestamp_ns: at_ns,
        end_ns: None,
        kind: EventKind::CounterReset,
        severity: Severity::Warning,
        source: series::derived_source(&series.def),
        message: Arc::from(format!("{} fell: its process restarted", series.def.metric_name)),
        attributes: Arc::from(attributes.to_string()),
    }
}

#[cfg(test)]
mod tests;
