//! A record of a made-up server: a few series and requests, the same for the same arguments.

#![allow(dead_code, reason = "every test file uses some of it")]

use std::sync::Arc;

use vllm_metrics::{
    EventRow, Manifest, MetricType, Outcome, RequestRow, RunData, SeriesData, SeriesDef, Severity, TimeSource,
};

pub(crate) const SECOND: i64 = 1_000_000_000;
/// When the record starts.
pub(crate) const START: i64 = 1_790_000_000 * SECOND;

/// Equally distributed in 0 to 1, the same for the same index.
pub(crate) fn noise(index: u64) -> f64 {
    let mut z = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

pub(crate) fn series(
    name: &str,
    labels: &str,
    metric_type: MetricType,
    unit: &str,
    values: Vec<f64>,
) -> SeriesData {
    SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type,
            unit: unit.into(),
            source: "vllm".into(),
            endpoint_url: "http://127.0.0.1:8000/metrics".into(),
        }),
        timestamps_ns: (0..values.len() as i64).map(|i| START + i * SECOND).collect(),
        values,
        phases: vec![(0, "performance".into())],
    }
}

/// Requests of 40 to 60 output tokens that arrive evenly, 8 ms a token.
pub(crate) fn requests(seconds: u64, per_second: f64) -> Vec<RequestRow> {
    let count = (seconds as f64 * per_second) as u64;
    (0..count)
        .map(|i| {
            let issued = START + SECOND + (i as f64 / per_second * 1e9) as i64;
            let sent = issued + 40_000;
            let (queue, prefill) = (1_000_000, 12_000_000 + (noise(i) * 2e6) as i64);
            let first = sent + queue + prefill + 500_000;
            let tokens = 40 + (noise(i + 1_000_000) * 20.0) as u32;
            let decode = i64::from(tokens - 1) * (8_000_000 + (noise(i + 2_000_000) * 4e5) as i64);
            RequestRow {
                request_id: i,
                sample_index: i % 97,
                batch_id: None,
                endpoint: 0,
                scheduled_ns: Some(issued - 30_000),
                issued_ns: issued,
                sent_ns: Some(sent),
                first_token_ns: Some(first),
                done_ns: Some(first + decode),
                prompt_tokens: Some(200 + (i % 50) as u32),
                output_tokens: Some(tokens),
                server_queue_ns: Some(queue),
                server_prefill_ns: Some(prefill),
                server_decode_ns: Some(decode),
                server_time_source: Some(TimeSource::Server),
                outcome: Outcome::Completed,
                reason: Some("length".into()),
            }
        })
        .collect()
}

/// A whole record.
pub(crate) fn record(seconds: u64, per_second: f64) -> RunData {
    let scrapes = seconds as usize + 3;
    let gauge = |seed: u64, scale: f64| -> Vec<f64> {
        (0..scrapes as u64)
            .map(|i| (noise(seed * 7_919 + i) * scale).floor())
            .collect()
    };
    let rising = |seed: u64, step: f64| -> Vec<f64> {
        let mut total = 0.0;
        (0..scrapes as u64)
            .map(|i| {
                total += (step * (0.9 + 0.2 * noise(seed * 104_729 + i))).floor();
                total
            })
            .collect()
    };
    let labels = r#"{"engine":"0","model_name":"m"}"#;
    let counter = |name: &str, seed: u64, step: f64| {
        series(name, labels, MetricType::Counter, "tokens", rising(seed, step))
    };
    let mut all = vec![
        series(
            "vllm:num_requests_running",
            labels,
            MetricType::Gauge,
            "requests",
            gauge(1, 6.0),
        ),
        series(
            "vllm:num_requests_waiting_by_reason",
            r#"{"engine":"0","model_name":"m","reason":"capacity"}"#,
            MetricType::Gauge,
            "requests",
            vec![0.0; scrapes],
        ),
        series(
            "vllm:kv_cache_usage_perc",
            labels,
            MetricType::Gauge,
            "ratio",
            (0..scrapes as u64).map(|i| 0.2 + 0.1 * noise(i + 77)).collect(),
        ),
        series(
            "vllm:cache_config_info",
            r#"{"block_size":"16","cache_dtype":"auto","enable_prefix_caching":"False","engine":"0","num_gpu_blocks":"1000"}"#,
            MetricType::Info,
            "",
            vec![1.0; scrapes],
        ),
        counter("vllm:generation_tokens_total", 3, 50.0 * per_second),
        counter("vllm:prompt_tokens_total", 4, 220.0 * per_second),
    ];
    let bounds = ["0.01", "0.025", "0.05", "0.1", "+Inf"];
    for (i, bound) in bounds.iter().enumerate() {
        let share = (i + 1) as f64 / bounds.len() as f64;
        all.push(series(
            "vllm:time_to_first_token_seconds_bucket",
            &format!(r#"{{"engine":"0","le":"{bound}","model_name":"m"}}"#),
            MetricType::Histogram,
            "",
            (0..scrapes).map(|s| (s as f64 * 100.0 * share).floor()).collect(),
        ));
    }
    for (ending, each) in [("sum", 2.5), ("count", 100.0)] {
        all.push(series(
            &format!("vllm:time_to_first_token_seconds_{ending}"),
            labels,
            MetricType::Histogram,
            "seconds",
            (0..scrapes).map(|s| s as f64 * each).collect(),
        ));
    }
    vllm_metrics::derive::series::sort(&mut all);
    let requests = requests(seconds, per_second);
    let last = requests.iter().filter_map(|row| row.done_ns).max();
    let facts = [
        ("model", "m"),
        ("scenario", "Server"),
        ("server_url", "http://127.0.0.1:8000"),
        ("target_qps", "4"),
        ("dataset", "made up"),
        ("metrics.endpoints", "http://127.0.0.1:8000/metrics"),
    ];
    RunData {
        manifest: Manifest {
            stamp: "20260921_133320".into(),
            started_ns: START,
            ended_ns: Some(last.unwrap_or(START) + SECOND),
            simulated: false,
            facts: facts
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        },
        series: all,
        requests,
        batches: Vec::new(),
        events: vec![EventRow {
            timestamp_ns: START + 5 * SECOND,
            end_ns: Some(START + 7 * SECOND),
            kind: "scrape_failed".into(),
            severity: Severity::Warning,
            source: "vllm".into(),
            message: "http://127.0.0.1:8000/metrics: refused <script>alert(1)</script>".into(),
            attributes: "{}".into(),
        }],
        ..RunData::default()
    }
}
