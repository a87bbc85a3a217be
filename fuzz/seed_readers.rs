//! Regenerates the corpus of the readers: one small run in every format, with each of its files as one input.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use vllm_metrics::store::write_run;
use vllm_metrics::{
    BatchRow, EventRow, Manifest, MetricType, Outcome, RequestRow, RunData, SeriesData, SeriesDef, Severity, StoreFormat,
    TimeSource,
};

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let formats = [
        (StoreFormat::Parquet, "read_parquet"),
        (StoreFormat::Json, "read_json"),
        (StoreFormat::Csv, "read_csv"),
        (StoreFormat::Sqlite, "read_sqlite"),
        (StoreFormat::PrometheusText, "read_prometheus"),
    ];
    for (format, target) in formats {
        let folder = tempfile::tempdir().expect("a folder for the run");
        let files = write_run(&run(), format, folder.path(), "").expect("the run can be written");
        let target = corpus.join(target);
        fs::create_dir_all(&target).expect("the corpus can be written");
        // The first byte selects which file of a run this is.
        let tables = [
            (0, "samples", Some(files.samples)),
            (5, "requests", files.requests),
            (6, "batches", files.batches),
            (7, "events", files.events),
        ];
        for (choice, seed, file) in tables {
            // One SQLite file holds everything.
            let Some(file) = file.filter(|_| choice == 0 || format != StoreFormat::Sqlite) else { continue };
            let content = fs::read(&file).expect("the file was just written");
            fs::write(target.join(seed), [&[choice], &content[..]].concat()).expect("the corpus can be written");
        }
    }
}

fn run() -> RunData {
    let start = 1_767_225_600_000_000_000;
    let second = 1_000_000_000;
    let series = |name: &str, labels: &str, metric_type, unit: &str, values: [f64; 3]| SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type,
            unit: unit.into(),
            source: "vllm".into(),
            endpoint_url: "http://127.0.0.1:8000/metrics".into(),
        }),
        timestamps_ns: vec![start, start + second, start + 2 * second],
        values: values.to_vec(),
        phases: vec![(0, "".into()), (1, "performance".into())],
    };
    RunData {
        engine_requests: Vec::new(),
        steps: Vec::new(),
        manifest: Manifest {
            stamp: "20260101_000000".into(),
            started_ns: start,
            ended_ns: Some(start + 3 * second),
            simulated: true,
            facts: BTreeMap::from([("model".into(), "a \"quoted\" name".into())]),
        },
        series: vec![
            series("vllm:generation_tokens_total", r#"{"engine":"0"}"#, MetricType::Counter, "tokens", [0.0, 7.0, 21.0]),
            series(
                "vllm:kv_cache_usage_perc",
                r#"{"engine":"0","model_name":"a,\"b\"}"}"#,
                MetricType::Gauge,
                "ratio",
                [0.25, f64::NAN, f64::INFINITY],
            ),
        ],
        requests: vec![RequestRow {
            request_id: u64::MAX,
            sample_index: 3,
            batch_id: Some(0),
            endpoint: 0,
            scheduled_ns: Some(start),
            issued_ns: start + 5,
            sent_ns: Some(start + 6),
            first_token_ns: Some(start + 7),
            done_ns: None,
            prompt_tokens: Some(8),
            output_tokens: None,
            server_queue_ns: Some(1),
            server_prefill_ns: Some(2),
            server_decode_ns: None,
            server_time_source: Some(TimeSource::Estimate),
            outcome: Outcome::Failed,
            reason: Some("answered 503, \"busy\"".into()),
        }],
        batches: vec![BatchRow {
            batch_id: 0,
            issued_ns: start + 5,
            done_ns: Some(start + 9),
            requests: 1,
            output_tokens: Some(0),
            failed: 1,
        }],
        events: vec![EventRow {
            timestamp_ns: start + second,
            end_ns: Some(start + 2 * second),
            kind: "gap".into(),
            severity: Severity::Warning,
            source: "prometheus".into(),
            message: "nothing was read,\nnot a line".into(),
            attributes: r#"{"missed":1}"#.into(),
        }],
        notes: Vec::new(),
    }
}
