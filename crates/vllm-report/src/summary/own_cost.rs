//! The cost of recording: the recorder's final figures, or, for a run that was cut, those of its last
//! samples.

use serde_json::{Map, Value, json};
use vllm_metrics::{RunData, SeriesData};

use crate::stats;

/// Scrape and parse time, bytes, hook calls, queue, drops, CPU and memory. Unknown values are null.
pub(crate) fn of(run: &RunData) -> Value {
    let fact = |key: &str| -> Option<f64> { run.manifest.facts.get(&format!("cost.{key}"))?.parse().ok() };
    // A store adds the duration of the samplers' ticks, under the name used for scrapes and with a label
    // `job`.
    let own = |name: &'static str| {
        run.series.iter().filter(move |s| {
            &*s.def.source == "self" && &*s.def.metric_name == name && !s.def.labels.contains("\"job\"")
        })
    };
    let all = |name| own(name).flat_map(|s| s.values.iter().copied());
    let last = |name, label: &str| {
        own(name)
            .find(|s| s.def.labels.contains(label))
            .and_then(|s: &SeriesData| s.values.last().copied())
    };
    let largest = |name| all(name).reduce(f64::max);
    let mean = |name| {
        let (sum, count) = all(name).fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        (count > 0.0).then(|| sum / count)
    };
    let ns = |secs: f64| secs * 1e9;
    let hook = |quantile: &str| {
        last(
            "vllm_metrics_hook_duration_seconds",
            &format!("\"quantile\":\"{quantile}\""),
        )
        .map(ns)
    };
    let dropped = |what: &str| {
        fact(&format!("dropped_{what}"))
            .or_else(|| last("vllm_metrics_dropped_total", &format!("\"what\":\"{what}\"")))
    };
    let cpu = |thread: &str| {
        fact(&format!("{thread}_cpu_secs")).or_else(|| {
            last(
                "vllm_metrics_cpu_seconds_total",
                &format!("\"thread\":\"{thread}\""),
            )
        })
    };
    let n = stats::number;
    let drops: Map<String, Value> = ["samples", "rows", "events", "hook_calls"]
        .into_iter()
        .map(|what| (what.to_owned(), n(dropped(what))))
        .collect();
    json!({
        // False for a run that was cut; the figures are then those of its last samples.
        "complete": fact("scrapes").is_some(),
        "scrapes": n(fact("scrapes").or_else(|| Some(all("scrape_duration_seconds").count() as f64))),
        "mean_fetch_secs": n(fact("mean_fetch_secs").or_else(|| mean("scrape_duration_seconds"))),
        "longest_fetch_secs": n(fact("longest_fetch_secs").or_else(|| largest("scrape_duration_seconds"))),
        "mean_parse_secs": n(fact("mean_parse_secs").or_else(|| mean("scrape_parse_seconds"))),
        "body_bytes": n(fact("body_bytes").or_else(|| all("scrape_body_size_bytes").reduce(|sum, bytes| sum + bytes))),
        "hook_p50_ns": n(fact("hook_p50_ns").or_else(|| hook("0.5"))),
        "hook_p99_ns": n(fact("hook_p99_ns").or_else(|| hook("0.99"))),
        "queue_high_water_bytes": n(fact("queue_high_water_bytes").or_else(|| largest("vllm_metrics_queue_peak_bytes"))),
        "dropped": drops,
        "collector_cpu_secs": n(cpu("collector")),
        "writer_cpu_secs": n(cpu("writer")),
        "sampler_cpu_secs": n(fact("sampler_cpu_secs")),
        // Share of one core, over the whole session.
        "cpu_share_ratio": n(fact("cpu_share_ratio")),
        // For the whole process, including the harness.
        "resident_bytes": n(fact("resident_bytes").or_else(|| last("vllm_metrics_process_resident_bytes", ""))),
        "peak_resident_bytes": n(fact("peak_resident_bytes").or_else(|| largest("vllm_metrics_process_resident_bytes"))),
    })
}
