//! Requests for MLflow's tracking server, in the order in which they are sent.
//!
//! The server takes at most 1,000 metrics, 100 parameters and 100 tags in one request, 1,000 of all together and 1 MB.
//! Names hold letters, digits and `_ - . space : /`. Labels of a series become `/key.value`.

use serde_json::{Value, json};
use vllm_metrics::HelpTexts;

use super::figures::{Figures, Values};
use crate::analysis::Analysis;

/// Metrics of one request at most.
pub const MOST_METRICS: usize = 900;
/// Parameters of one request at most.
pub const MOST_PARAMS: usize = 90;
/// Longest value of a parameter.
const LONGEST_VALUE: usize = 6_000;

pub(super) fn of(analysis: &Analysis<'_>) -> Value {
    let record = analysis.record();
    let facts = &analysis.run.facts;
    let ended_ns = record.manifest.ended_ns;
    let ms = |ns: i64| ns.div_euclid(1_000_000);
    let at = ms(ended_ns.unwrap_or(record.manifest.started_ns));
    let metrics: Vec<Value> = metrics(analysis)
        .into_iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(key, value)| json!({ "key": name(&key), "value": value, "timestamp": at, "step": 0 }))
        .collect();
    let params: Vec<Value> = record
        .manifest
        .facts
        .iter()
        .filter(|(key, _)| !key.starts_with("cost.") && !HelpTexts::is_fact(key))
        .map(|(key, value)| json!({ "key": name(key), "value": cut(value) }))
        .collect();
    let valid = analysis
        .judged
        .as_ref()
        .map(|judged| judged.validity == crate::harness_verdict::Validity::Valid);
    let tags = [
        ("mlflow.source.name", Some("sut".to_owned())),
        ("mlflow.runName", Some(analysis.name.clone())),
        ("simulated", Some(facts.simulated.to_string())),
        ("valid", valid.map(|valid| valid.to_string())),
        ("vllm_version", facts.vllm_version.clone()),
        ("model", facts.model.clone()),
        ("scenario", Some(facts.scenario.name().to_owned())),
    ];
    let tags: Vec<Value> = tags
        .into_iter()
        .filter_map(|(key, value)| Some(json!({ "key": key, "value": value? })))
        .collect();
    let mut batches: Vec<Value> = vec![json!({ "metrics": [], "params": [], "tags": tags })];
    batches.extend(
        params
            .chunks(MOST_PARAMS)
            .map(|params| json!({ "metrics": [], "params": params, "tags": [] })),
    );
    batches.extend(
        metrics
            .chunks(MOST_METRICS)
            .map(|metrics| json!({ "metrics": metrics, "params": [], "tags": [] })),
    );
    let interrupted = ended_ns.is_none()
        || analysis
            .judged
            .as_ref()
            .is_some_and(|judged| judged.interrupted.is_some());
    json!({
        "experiment_name": facts.model.as_deref().unwrap_or("vLLM"),
        "run_name": analysis.name,
        "start_time": ms(record.manifest.started_ns),
        "end_time": ended_ns.map(ms),
        "status": if interrupted { "KILLED" } else { "FINISHED" },
        "log_batch": batches,
    })
}

/// As aiperf names them: the metric alone is its mean, `metric.p99` a quantile.
fn metrics(analysis: &Analysis<'_>) -> Vec<(String, f64)> {
    let figures = Figures::of(analysis);
    let mut all = Vec::new();
    let mut one = |key: &str, value: Option<f64>| all.extend(value.map(|value| (key.to_owned(), value)));
    let completed = figures.completed.len() as f64;
    one("request_count", Some(completed));
    one("error_request_count", Some(figures.failed as f64));
    one("benchmark_duration", Some(figures.duration_secs));
    one("request_throughput", figures.per_second(completed));
    let output = figures.output_tokens.map(|tokens| tokens as f64);
    one(
        "output_token_throughput",
        output.and_then(|tokens| figures.per_second(tokens)),
    );
    one("total_output_tokens", output);
    one("goodput", figures.goodput_per_second);
    for (key, values) in [
        ("time_to_first_token", figures.ttft()),
        ("inter_token_latency", figures.tpot()),
        ("request_latency", figures.latency()),
    ] {
        all.extend(of_values(key, &values));
    }
    for figure in &analysis.window.figures {
        let key = figure.name.replace([' ', '-'], "_");
        all.extend(figure.window.map(|value| (format!("steady_window/{key}"), value)));
    }
    if let Some(joules) = analysis.summary["energy"]["joules_per_output_token"]["value"].as_f64() {
        all.push(("energy/joules_per_output_token".to_owned(), joules));
    }
    all.extend(of_series(&analysis.summary));
    all
}

fn of_values(key: &str, values: &Values) -> Vec<(String, f64)> {
    let ms = |secs: f64| secs * 1e3;
    let mut all: Vec<(String, f64)> = values
        .mean()
        .map(|mean| (key.to_owned(), ms(mean)))
        .into_iter()
        .collect();
    for (q, quantile) in [(0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99")] {
        all.extend(
            values
                .quantile(q)
                .map(|value| (format!("{key}.{quantile}"), ms(value))),
        );
    }
    all
}

/// Mean of each gauge and increase of each counter, as the summary has them.
fn of_series(summary: &Value) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for (name, metric) in summary["metrics"].as_object().into_iter().flatten() {
        for series in metric["series"].as_array().into_iter().flatten() {
            let mut key = name.clone();
            for (label, value) in series["labels"].as_object().into_iter().flatten() {
                key.push_str(&format!("/{label}.{}", value.as_str().unwrap_or_default()));
            }
            let value = series["increase"].as_f64().or_else(|| series["mean"].as_f64());
            all.extend(value.map(|value| (key, value)));
        }
    }
    all
}

/// A name that the server takes, at most 250 characters.
fn name(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-. :/".contains(c);
    let name: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(250)
        .collect();
    // A path that leads upwards or begins at the root is refused.
    name.split('/')
        .map(|part| {
            if part.is_empty() || part.chars().all(|c| c == '.') {
                "_"
            } else {
                part
            }
        })
        .collect::<Vec<_>>()
        .join("/")
}

fn cut(value: &str) -> String {
    value.chars().take(LONGEST_VALUE).collect()
}
