//! The whole derivation on a small synthetic run with two engines, a gap and a restart.

use std::sync::Arc;

use super::*;
use run_model::{Manifest, MetricType, SeriesDef};

const SECOND: i64 = 1_000_000_000;

fn series(name: &str, labels: &str, metric_type: MetricType, times: &[i64], values: &[f64]) -> SeriesData {
    SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type,
            unit: "".into(),
            source: "vllm".into(),
            endpoint_url: "http://127.0.0.1:8000".into(),
        }),
        timestamps_ns: times.to_vec(),
        values: values.to_vec(),
        phases: vec![(0, "warmup".into()), (2, "performance".into())],
    }
}

fn run(mut all: Vec<SeriesData>) -> RunData {
    super::series::sort(&mut all);
    RunData {
        manifest: Manifest {
            stamp: "20261121_120000".into(),
            ..Manifest::default()
        },
        series: all,
        ..RunData::default()
    }
}

fn find<'a>(out: &'a RunData, name: &str) -> Vec<&'a SeriesData> {
    out.series
        .iter()
        .filter(|s| &*s.def.metric_name == name)
        .collect()
}

#[test]
fn counters_are_differenced_per_series_and_the_restart_is_an_event() {
    let t: Vec<i64> = (0..5).map(|i| i * SECOND).collect();
    let name = "vllm:request_success_total";
    let input = run(vec![
        series(
            name,
            r#"{"finished_reason":"stop"}"#,
            MetricType::Counter,
            &t,
            &[1005.0, 1010.0, 1010.0, 3.0, 4.0],
        ),
        series(
            name,
            r#"{"finished_reason":"abort"}"#,
            MetricType::Counter,
            &t,
            &[496.0, 496.0, 497.0, 497.0, 497.0],
        ),
    ]);
    let before = input.clone();
    let out = process(&input);
    assert_eq!(input, before, "the input is not touched");

    let increases = find(&out, "vllm:request_success_total_increase");
    assert_eq!(increases.len(), 2);
    let stop = increases.iter().find(|s| s.def.labels.contains("stop")).unwrap();
    assert_eq!(stop.values, [5.0, 0.0, 3.0, 1.0]);
    assert_eq!(stop.timestamps_ns, &t[1..]);
    assert_eq!(
        stop.phases,
        vec![(0, Arc::from("warmup")), (1, Arc::from("performance"))]
    );
    assert_eq!(&*stop.def.source, "derived");

    assert_eq!(out.events.len(), 1);
    assert_eq!(&*out.events[0].kind, "counter_reset");
    assert_eq!(out.events[0].timestamp_ns, t[3]);

    let failures = find(&out, "vllm:request_failure_total");
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].def.labels.contains(r#""reason":"abort""#),
        "{}",
        failures[0].def.labels
    );
    assert_eq!(
        find(&out, "vllm:requests_per_second")[0].values,
        [5.0, 1.0, 3.0, 1.0]
    );
}

#[test]
fn histograms_yield_count_mean_and_quantiles_within_bucket_width() {
    let t = [0, SECOND, 2 * SECOND];
    let family = "vllm:e2e_request_latency_seconds";
    let bucket = |le: &str, values: &[f64]| {
        series(
            &format!("{family}_bucket"),
            &format!(r#"{{"engine":"0","le":"{le}"}}"#),
            MetricType::Histogram,
            &t,
            values,
        )
    };
    let out = process(&run(vec![
        bucket("0.1", &[0.0, 50.0, 50.0]),
        bucket("0.2", &[0.0, 100.0, 100.0]),
        bucket("+Inf", &[0.0, 100.0, 100.0]),
        series(
            &format!("{family}_sum"),
            r#"{"engine":"0"}"#,
            MetricType::Histogram,
            &t,
            &[0.0, 10.0, 10.0],
        ),
        series(
            &format!("{family}_count"),
            r#"{"engine":"0"}"#,
            MetricType::Histogram,
            &t,
            &[0.0, 100.0, 100.0],
        ),
    ]));
    let p99 = find(&out, "vllm:e2e_request_latency_seconds_p99_estimate");
    assert_eq!(p99.len(), 1);
    assert_eq!(
        p99[0].timestamps_ns,
        [SECOND],
        "an interval without observations has no quantile"
    );
    assert!((p99[0].values[0] - 0.199).abs() < 0.1);
    assert_eq!(
        find(&out, "vllm:e2e_request_latency_seconds_interval_count")[0].values,
        [100.0, 0.0]
    );
    let latency = find(&out, "vllm:request_latency");
    assert_eq!(latency[0].values, [0.1]);
    assert!(latency[0].def.labels.contains("derived_from"));
}

#[test]
fn simulated_sources_stay_simulated_and_seed_names_appear() {
    let t = [0, SECOND];
    let mut kv = series(
        "vllm:kv_cache_usage_perc",
        "{}",
        MetricType::Gauge,
        &t,
        &[0.25, 0.5],
    );
    kv.def = Arc::new(SeriesDef {
        source: "vllm-simulated".into(),
        ..(*kv.def).clone()
    });
    let gpu = series(
        "DCGM_FI_DEV_GPU_UTIL",
        r#"{"gpu":"0"}"#,
        MetricType::Gauge,
        &t,
        &[50.0, 100.0],
    );
    let out = process(&run(vec![kv, gpu]));
    let kv = find(&out, "vllm:kv_cache_usage_ratio");
    assert_eq!(&*kv[0].def.source, "derived-simulated");
    assert_eq!(find(&out, "vllm:gpu_utilization")[0].values, [0.5, 1.0]);
}

#[test]
fn hit_ratio_is_missing_where_nothing_was_asked() {
    let t = [0, SECOND, 2 * SECOND];
    let out = process(&run(vec![
        series(
            "vllm:prefix_cache_queries_total",
            "{}",
            MetricType::Counter,
            &t,
            &[10.0, 30.0, 30.0],
        ),
        series(
            "vllm:prefix_cache_hits_total",
            "{}",
            MetricType::Counter,
            &t,
            &[0.0, 5.0, 5.0],
        ),
    ]));
    let ratio = find(&out, "vllm:prefix_cache_hit_ratio");
    assert_eq!(ratio[0].values, [0.25]);
}
