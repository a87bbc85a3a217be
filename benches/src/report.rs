//! What a run ends with: three pictures at 300 dpi and the summary of ten minutes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use vllm_metrics::{Manifest, MetricType, RunData, SeriesData, SeriesDef};
use vllm_report::{RenderOptions, render};

use crate::Figure;

const SCRAPES: i64 = 600;
const SECOND: i64 = 1_000_000_000;
/// Families of times with vLLM's names and 23 buckets each, as its page has them.
const HISTOGRAMS: &[&str] = &[
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
    "vllm:request_inference_time_seconds",
    "vllm:request_time_per_output_token_seconds",
    "vllm:iteration_tokens_total",
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
    "vllm:request_params_max_tokens",
];
const COUNTERS: &[&str] = &[
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
    "vllm:num_preemptions_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
];
const GAUGES: &[&str] = &[
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
];
/// Series of a vLLM 0.32 page.
const SERIES: usize = 430;

/// Equally distributed in 0 to 1, the same in every run (splitmix64 of the index).
fn noise(index: u64) -> f64 {
    let mut z = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn series(name: &str, labels: &str, metric_type: MetricType, values: Vec<f64>) -> SeriesData {
    SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type,
            unit: "".into(),
            source: "vllm".into(),
            endpoint_url: "http://127.0.0.1:8000".into(),
        }),
        timestamps_ns: (0..SCRAPES).map(|i| i * SECOND).collect(),
        values,
        phases: vec![(0, "performance".into())],
    }
}

fn counter(seed: u64) -> Vec<f64> {
    let mut total = 0.0;
    (0..SCRAPES as u64)
        .map(|i| {
            total += (noise(seed * 7919 + i) * 1000.0).floor();
            total
        })
        .collect()
}

/// A run of 600 scrapes of 430 series that all change.
pub fn ten_minutes() -> RunData {
    let mut all = Vec::new();
    for (h, family) in HISTOGRAMS.iter().enumerate() {
        // 1 ms to about 4000 s, each bound twice the one before.
        let bounds: Vec<f64> = (0..22)
            .map(|i| 0.001 * f64::from(1u32 << i))
            .chain([f64::INFINITY])
            .collect();
        let mut cumulative = vec![vec![0.0; SCRAPES as usize]; bounds.len()];
        let (mut totals, mut sum) = (vec![0.0; bounds.len()], 0.0);
        let mut sums = Vec::new();
        for scrape in 0..SCRAPES as u64 {
            for observation in 0..20 {
                let u = noise((h as u64 * 1_000_003 + scrape) * 31 + observation).max(1e-9);
                let value = 0.1 * (-u.ln());
                sum += value;
                for (total, bound) in totals.iter_mut().zip(&bounds) {
                    *total += f64::from(u8::from(value <= *bound));
                }
            }
            sums.push(sum);
            for (column, total) in cumulative.iter_mut().zip(&totals) {
                column[scrape as usize] = *total;
            }
        }
        let counts = cumulative[bounds.len() - 1].clone();
        for (bound, values) in bounds.iter().zip(cumulative) {
            let le = if bound.is_finite() {
                bound.to_string()
            } else {
                "+Inf".into()
            };
            let labels = format!(r#"{{"engine":"0","le":"{le}","model_name":"m"}}"#);
            all.push(series(
                &format!("{family}_bucket"),
                &labels,
                MetricType::Histogram,
                values,
            ));
        }
        let labels = r#"{"engine":"0","model_name":"m"}"#;
        all.push(series(
            &format!("{family}_sum"),
            labels,
            MetricType::Histogram,
            sums,
        ));
        all.push(series(
            &format!("{family}_count"),
            labels,
            MetricType::Histogram,
            counts,
        ));
    }
    let labels = r#"{"engine":"0","model_name":"m"}"#;
    for (i, name) in COUNTERS.iter().enumerate() {
        all.push(series(name, labels, MetricType::Counter, counter(i as u64)));
    }
    for (i, name) in GAUGES.iter().enumerate() {
        let scale = if name.ends_with("perc") { 1.0 } else { 64.0 };
        let values = (0..SCRAPES as u64)
            .map(|t| (noise(i as u64 * 77_003 + t) * scale * 64.0).floor() / 64.0)
            .collect();
        all.push(series(name, labels, MetricType::Gauge, values));
    }
    for i in all.len()..SERIES {
        all.push(series(
            &format!("other_{i:03}_total"),
            "{}",
            MetricType::Counter,
            counter(i as u64),
        ));
    }
    vllm_metrics::derive::series::sort(&mut all);
    RunData {
        manifest: Manifest {
            stamp: "20261121_120000".into(),
            ended_ns: Some((SCRAPES - 1) * SECOND),
            ..Manifest::default()
        },
        series: all,
        ..RunData::default()
    }
}

/// Pictures and summary of a run, written to a folder.
///
/// # Panics
/// If the folder cannot be written.
pub fn write(run: &RunData, folder: &Path) {
    render(run, folder, &RenderOptions::default()).expect("a temporary folder can be written");
}

/// `report_three_plots_and_summary_s`: median of seven, wall time, files on disk at the end of each.
///
/// # Panics
/// If no temporary folder can be had.
pub fn figures() -> Vec<Figure> {
    let run = ten_minutes();
    let folder = tempfile::tempdir().expect("a temporary folder can be had");
    write(&run, folder.path());
    let mut seconds: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            write(&run, folder.path());
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    vec![Figure {
        name: "report_three_plots_and_summary_s",
        value: Some(seconds[seconds.len() / 2]),
        unit: "s",
        beside: format!(
            "{SCRAPES} scrapes x {SERIES} series, three PNG at 300 dpi and the summary JSON; fastest {:.3} s, slowest \
             {:.3} s; pandas and matplotlib took 4.8 to 5.3 s on a machine of this kind",
            seconds[0],
            seconds[seconds.len() - 1]
        ),
    }]
}
