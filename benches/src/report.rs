//! The work at the end of a run: three pictures at 300 dpi and the summary for ten minutes, and for an hour
//! with 100,000 requests also the interactive report and the trace.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use run_report::{Analysis, AnalysisOptions};
use vllm_metrics::{
    Manifest, MetricType, Outcome, RequestRow, RunData, SeriesData, SeriesDef, TimeSource, view,
};
use vllm_report::{RenderOptions, render};

use crate::Figure;

const SCRAPES: usize = 600;
const HOUR_SCRAPES: usize = 3_600;
const DAY_SCRAPES: usize = 86_400;
const HOUR_REQUESTS: u64 = 100_000;
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

/// Uniform in 0 to 1 and the same in every run (splitmix64 of the index).
fn noise(index: u64) -> f64 {
    let mut z = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn series(name: &str, labels: &str, metric_type: MetricType, values: Vec<f64>) -> SeriesData {
    let scrapes = values.len() as i64;
    SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type,
            unit: "".into(),
            source: "vllm".into(),
            endpoint_url: "http://127.0.0.1:8000".into(),
        }),
        timestamps_ns: (0..scrapes).map(|i| i * SECOND).collect(),
        values,
        phases: vec![(0, "performance".into())],
    }
}

fn counter(seed: u64, scrapes: usize) -> Vec<f64> {
    let mut total = 0.0;
    (0..scrapes as u64)
        .map(|i| {
            total += (noise(seed * 7919 + i) * 1000.0).floor();
            total
        })
        .collect()
}

/// A run of 600 scrapes of 430 series that all change.
pub fn ten_minutes() -> RunData {
    record(SCRAPES, 20, |i| counter(i as u64, SCRAPES))
}

/// An hour of 3,600 scrapes of 430 series, and 100,000 requests. As on vLLM's page, series that belong to no
/// histogram, counter or gauge of the engine are constant (creation times, sizes, settings).
pub fn hour() -> RunData {
    let mut run = record(HOUR_SCRAPES, HOUR_REQUESTS / HOUR_SCRAPES as u64, |i| {
        vec![i as f64; HOUR_SCRAPES]
    });
    let spacing_ns = HOUR_SCRAPES as i64 * SECOND / HOUR_REQUESTS as i64;
    run.requests = (0..HOUR_REQUESTS)
        .map(|id| request(id, id as i64 * spacing_ns))
        .collect();
    run.requests.sort_by_key(|request| request.issued_ns);
    run
}

fn request(id: u64, about_ns: i64) -> RequestRow {
    let draw = |what: u64| noise(id * 16 + what + (1 << 40));
    let exponential = |what: u64, mean_ms: f64| (-draw(what).max(1e-9).ln() * mean_ms * 1e6) as i64;
    let scheduled = about_ns + exponential(0, 30.0);
    let issued = scheduled + exponential(1, 0.1);
    let sent = issued + exponential(2, 0.05);
    let (queue, prefill) = (exponential(3, 5.0), 15_000_000 + exponential(4, 5.0));
    let first = sent + queue + prefill + exponential(5, 1.0);
    let tokens = 20 + (draw(6) * 200.0) as u32;
    let decode = i64::from(tokens - 1) * (8_000_000 + (draw(7) * 1e6) as i64);
    RequestRow {
        request_id: id,
        sample_index: id % 13_368,
        batch_id: None,
        endpoint: 0,
        scheduled_ns: Some(scheduled),
        issued_ns: issued,
        sent_ns: Some(sent),
        first_token_ns: Some(first),
        done_ns: Some(first + decode + exponential(8, 0.5)),
        prompt_tokens: Some(100 + (draw(9) * 800.0) as u32),
        output_tokens: Some(tokens),
        server_queue_ns: Some(queue),
        server_prefill_ns: Some(prefill),
        server_decode_ns: Some(decode),
        server_time_source: Some(TimeSource::Server),
        outcome: Outcome::Completed,
        reason: None,
    }
}

fn record(scrapes: usize, observations: u64, other: impl Fn(usize) -> Vec<f64>) -> RunData {
    let mut all = Vec::new();
    for (h, family) in HISTOGRAMS.iter().enumerate() {
        // 1 ms to about 4000 s, each bound twice the previous one.
        let bounds: Vec<f64> = (0..22)
            .map(|i| 0.001 * f64::from(1u32 << i))
            .chain([f64::INFINITY])
            .collect();
        let mut cumulative = vec![vec![0.0; scrapes]; bounds.len()];
        let (mut totals, mut sum) = (vec![0.0; bounds.len()], 0.0);
        let mut sums = Vec::new();
        for scrape in 0..scrapes as u64 {
            for observation in 0..observations {
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
        all.push(series(
            name,
            labels,
            MetricType::Counter,
            counter(i as u64, scrapes),
        ));
    }
    for (i, name) in GAUGES.iter().enumerate() {
        let scale = if name.ends_with("perc") { 1.0 } else { 64.0 };
        let values = (0..scrapes as u64)
            .map(|t| (noise(i as u64 * 77_003 + t) * scale * 64.0).floor() / 64.0)
            .collect();
        all.push(series(name, labels, MetricType::Gauge, values));
    }
    for i in all.len()..SERIES {
        all.push(series(
            &format!("other_{i:03}_total"),
            "{}",
            MetricType::Counter,
            other(i),
        ));
    }
    vllm_metrics::derive::series::sort(&mut all);
    RunData {
        manifest: Manifest {
            stamp: "20261121_120000".into(),
            ended_ns: Some((scrapes as i64 - 1) * SECOND),
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
    render(&view::Analysis::of(run), folder, &RenderOptions::default())
        .expect("a temporary folder can be written");
}

/// `report_three_plots_and_summary_s`: median of seven, wall time, including the writing of the files.
///
/// # Panics
/// If no temporary folder can be created.
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
        context: format!(
            "{SCRAPES} scrapes x {SERIES} series, three PNG at 300 dpi and the summary JSON; fastest {:.3} s, slowest \
             {:.3} s; pandas and matplotlib took 4.8 to 5.3 s on a machine of this kind",
            seconds[0],
            seconds[seconds.len() - 1]
        ),
    }]
}

/// Everything that is written at the end of a run: pictures, summary, report and trace.
///
/// # Panics
/// If the folder cannot be written.
pub fn write_all(run: &RunData, folder: &Path) -> u64 {
    let analysis = Analysis::of(run, AnalysisOptions::default());
    let options = RenderOptions {
        summary: Some(analysis.summary.clone()),
        ..RenderOptions::default()
    };
    render(analysis.data(), folder, &options).expect("a temporary folder can be written");
    let page = run_report::page(&[&analysis], None);
    let report = folder.join("report.html");
    run_report::write_report(&page, &report).expect("a temporary folder can be written");
    run_report::write_trace(&page, &folder.join("trace.json")).expect("a temporary folder can be written");
    std::fs::metadata(&report).expect("the report was written").len()
}

/// `report_hour_s` and `report_hour_mb`: CPU time of the whole process, median of three.
///
/// # Panics
/// If no temporary folder can be created.
pub fn hour_figures() -> Vec<Figure> {
    let run = hour();
    let folder = tempfile::tempdir().expect("a temporary folder can be had");
    let mut bytes = write_all(&run, folder.path());
    let mut rounds: Vec<(f64, f64)> = (0..3)
        .map(|_| {
            let (cpu, wall) = (cpu_secs(), Instant::now());
            bytes = write_all(&run, folder.path());
            (cpu_secs() - cpu, wall.elapsed().as_secs_f64())
        })
        .collect();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (cpu, wall) = rounds[1];
    let peer = match peer(&run, folder.path()) {
        Ok(secs) => format!("pandas and matplotlib take {secs:.2} s of CPU for three plots and a summary"),
        Err(error) => format!("pandas and matplotlib not measured: {error:#}"),
    };
    let context = format!(
        "{HOUR_SCRAPES} scrapes x {SERIES} series and {HOUR_REQUESTS} requests: three PNG at 300 dpi, the summary JSON, \
         the interactive report and the trace; CPU time of all threads, {wall:.2} s of wall time; {peer}"
    );
    vec![
        Figure {
            name: "report_hour_s",
            value: Some(cpu),
            unit: "s",
            context,
        },
        Figure {
            name: "report_hour_mb",
            value: Some(bytes as f64 / 1e6),
            unit: "MB",
            context: "the interactive report of the same run, every sample and every request kept".into(),
        },
    ]
}

/// CPU seconds of `benches/peers/pandas` on the same run as Parquet, after its imports. `PEER_PYTHON` names a Python with
/// pandas, pyarrow and matplotlib.
fn peer(run: &RunData, folder: &Path) -> Result<f64> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/pandas/report.py");
    let python = std::env::var_os("PEER_PYTHON").unwrap_or_else(|| "python3".into());
    let files = vllm_metrics::store::write_run(run, vllm_metrics::StoreFormat::Parquet, folder, "")?;
    let requests = folder.join(format!("requests_{}.parquet", run.manifest.stamp));
    let output = Command::new(python)
        .arg(script)
        .args([&files.samples, &requests])
        .arg(folder)
        .output()
        .context("PEER_PYTHON cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let secs = text.split_whitespace().next().and_then(|secs| secs.parse().ok());
    secs.with_context(|| said.lines().last().unwrap_or("it printed nothing").to_owned())
}

/// `report_day_mb`: the interactive report of a day, which keeps the extremes of parts of it.
///
/// # Panics
/// If no temporary folder can be created.
pub fn day_figures() -> Vec<Figure> {
    let run = record(DAY_SCRAPES, 2, |i| vec![i as f64; DAY_SCRAPES]);
    let folder = tempfile::tempdir().expect("a temporary folder can be had");
    let path = folder.path().join("report.html");
    let cpu = cpu_secs();
    let analysis = Analysis::of(&run, AnalysisOptions::default());
    let report = run_report::write_report(&run_report::page(&[&analysis], None), &path)
        .expect("a temporary folder can be written");
    let cpu = cpu_secs() - cpu;
    let bytes = std::fs::metadata(&path).expect("the report was written").len();
    vec![Figure {
        name: "report_day_mb",
        value: Some(bytes as f64 / 1e6),
        unit: "MB",
        context: format!(
            "{DAY_SCRAPES} scrapes x {SERIES} series, made in {cpu:.1} s of CPU; left out: {}",
            report.remarks.join("; ")
        ),
    }]
}

fn cpu_secs() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process can ask for its own usage");
    let secs = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    secs(usage.user_time()) + secs(usage.system_time())
}
