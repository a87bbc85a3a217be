//! Names that users expect but vLLM does not export, published as derived series with their source.
//!
//! | name | made from | unit |
//! |---|---|---|
//! | `vllm:request_latency_interval_mean`, `…_p50_estimate` … | histogram `vllm:e2e_request_latency_seconds` | seconds |
//! | `vllm:request_latency` | mean of the above per interval (exact) | seconds |
//! | `vllm:gpu_utilization` | the GPU sampler or a GPU exporter | ratio 0–1 |
//! | `vllm:gpu_memory_used` | the GPU sampler or a GPU exporter | bytes |
//! | `vllm:kv_cache_usage_ratio` | `vllm:kv_cache_usage_perc`, older `vllm:gpu_cache_usage_perc` | ratio 0–1 |
//! | `vllm:request_failure_total{reason}` | `abort` and `error` finishes, HTTP 5xx, failed request rows | requests |
//!
//! The four reasons of `vllm:request_failure_total` overlap (a failed request can be seen by client, HTTP
//! layer and engine), so they are separate series and never added.

use std::sync::Arc;

use super::histogram::{self, Histogram};
use super::series::{Builder, phase_at};
use run_model::catalog::{blank, names_of};
use run_model::labels;
use run_model::{MetricType, Outcome, RunData, SeriesData, SeriesDef};

/// Possible sources of a derived gauge: metric name and factor to the base unit.
type Candidates = &'static [(&'static str, f64)];

/// Share of the KV cache in use, 0–1 despite the names' suffix.
pub const KV_CACHE_USAGE: Candidates = &[
    ("vllm:kv_cache_usage_perc", 1.0),
    ("vllm:gpu_cache_usage_perc", 1.0),
];

/// Adds every name of the table above for which this run has a source.
pub fn append(run: &RunData, histograms: &[Histogram], out: &mut Vec<SeriesData>) {
    out.extend(gpu_utilization(run));
    out.extend(gpu_memory_used(run));
    out.extend(kv_cache_usage(run));
    for h in histograms
        .iter()
        .filter(|h| h.name == "vllm:e2e_request_latency_seconds")
    {
        let from = out.len();
        histogram::append(h, "vllm:request_latency", Some(&h.name), out);
        let mean = out[from..]
            .iter()
            .find(|s| s.def.metric_name.ends_with("_interval_mean"))
            .cloned();
        if let Some(mut mean) = mean {
            mean.def = Arc::new(SeriesDef {
                metric_name: "vllm:request_latency".into(),
                ..(*mean.def).clone()
            });
            out.push(mean);
        }
    }
    failures(run, out);
}

/// `vllm:gpu_utilization` per GPU, a ratio; empty if the run has no source or already has the name.
pub fn gpu_utilization(run: &RunData) -> Vec<SeriesData> {
    rename(
        run,
        names_of("gpu_utilization_ratio"),
        "vllm:gpu_utilization",
        "ratio",
    )
}

/// `vllm:gpu_memory_used` per GPU in bytes; empty if the run has no source or already has the name.
pub fn gpu_memory_used(run: &RunData) -> Vec<SeriesData> {
    rename(
        run,
        names_of("gpu_memory_used_bytes"),
        "vllm:gpu_memory_used",
        "bytes",
    )
}

/// `vllm:kv_cache_usage_ratio` per engine; empty if the run has no source or already has the name.
pub fn kv_cache_usage(run: &RunData) -> Vec<SeriesData> {
    rename(
        run,
        KV_CACHE_USAGE.iter().copied(),
        "vllm:kv_cache_usage_ratio",
        "ratio",
    )
}

/// Publishes the first candidate in the run (all its label sets) under another name.
fn rename(
    run: &RunData,
    candidates: impl Iterator<Item = (&'static str, f64)>,
    name: &str,
    unit: &str,
) -> Vec<SeriesData> {
    let mut out = Vec::new();
    // The run already contains this name.
    if run.series.iter().any(|s| &*s.def.metric_name == name) {
        return out;
    }
    for (candidate, factor) in candidates {
        for series in run.series.iter().filter(|s| &*s.def.metric_name == candidate) {
            let labels = labels::with(&series.def.labels, "derived_from", candidate);
            let mut builder = Builder::gauge(name, labels, unit, &series.def);
            copy(series, factor, &mut builder);
            out.push(builder.finish());
        }
        if !out.is_empty() {
            break;
        }
    }
    out
}

fn copy(series: &SeriesData, factor: f64, builder: &mut Builder) {
    for (i, (&t, &value)) in series.timestamps_ns.iter().zip(&series.values).enumerate() {
        // Recordings of other tools contain what the exporter wrote.
        if blank(&series.def.metric_name, value).is_none() {
            builder.push(t, value * factor, &phase_at(series, i));
        }
    }
}

fn failures(run: &RunData, out: &mut Vec<SeriesData>) {
    const NAME: &str = "vllm:request_failure_total";
    for series in &run.series {
        let labels = labels::parse(&series.def.labels);
        let reason = match (
            &*series.def.metric_name,
            labels.get("finished_reason"),
            labels.get("status"),
        ) {
            ("vllm:request_success_total", Some(reason), _) if reason == "abort" || reason == "error" => {
                reason
            }
            ("http_requests_total", _, Some(status)) if status.starts_with('5') => "http_5xx",
            _ => continue,
        };
        let mut labels = labels.clone();
        labels.insert("reason".into(), reason.into());
        labels.insert("derived_from".into(), series.def.metric_name.to_string());
        let mut builder = Builder::typed(
            NAME,
            labels::write(&labels),
            "requests",
            MetricType::Counter,
            &series.def,
        );
        copy(series, 1.0, &mut builder);
        out.push(builder.finish());
    }
    let mut failed: Vec<i64> = run
        .requests
        .iter()
        .filter(|r| r.outcome == Outcome::Failed)
        .map(|r| r.done_ns.unwrap_or(r.issued_ns))
        .collect();
    if run.requests.is_empty() {
        return;
    }
    failed.sort_unstable();
    let origin = SeriesDef {
        metric_name: NAME.into(),
        labels: Arc::from("{}"),
        metric_type: MetricType::Counter,
        unit: "requests".into(),
        source: if run.manifest.simulated {
            "harness-simulated".into()
        } else {
            "harness".into()
        },
        endpoint_url: Arc::from(""),
    };
    let labels = Arc::from(r#"{"derived_from":"requests","reason":"client"}"#);
    let mut builder = Builder::typed(NAME, labels, "requests", MetricType::Counter, &origin);
    let phase = Arc::from("");
    builder.push(run.requests[0].issued_ns, 0.0, &phase);
    for (i, t) in failed.iter().enumerate() {
        builder.push(*t, (i + 1) as f64, &phase);
    }
    out.push(builder.finish());
}
