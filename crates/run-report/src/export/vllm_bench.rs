//! `vllm bench serve --save-result --save-detailed` of vLLM 0.32.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use vllm_metrics::derive::goodput::started_ns;
use vllm_metrics::derive::latency::{tpot_secs, ttft_sent_secs};
use vllm_metrics::{Outcome, RequestRow};

use super::figures::{Figures, Values};
use crate::analysis::Analysis;

pub(super) fn of(analysis: &Analysis<'_>) -> Value {
    let figures = Figures::of(analysis);
    let facts = &analysis.run.facts;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("date", json!(date(analysis.record().manifest.started_ns)));
    put("endpoint_type", json!("openai"));
    put("backend", json!("vllm"));
    put("label", json!("sut"));
    put("model_id", json!(facts.model));
    put("tokenizer_id", json!(facts.model));
    put("num_prompts", json!(analysis.record().requests.len()));
    put("scenario", json!(facts.scenario.name()));
    put("simulated", json!(facts.simulated));
    put(
        "request_rate",
        facts
            .target_qps
            .filter(|_| facts.scenario.is_scheduled())
            .map_or_else(|| json!("inf"), |rate| json!(rate)),
    );
    put("burstiness", json!(1.0));
    put("max_concurrency", json!(facts.concurrency));
    put("duration", json!(figures.duration_secs));
    put("completed", json!(figures.completed.len()));
    put("failed", json!(figures.failed));
    put("total_input_tokens", json!(figures.input_tokens));
    put("total_output_tokens", json!(figures.output_tokens));
    put(
        "request_throughput",
        json!(figures.per_second(figures.completed.len() as f64)),
    );
    put("request_goodput", json!(figures.goodput_per_second));
    let per_second = |tokens: Option<u64>| tokens.and_then(|tokens| figures.per_second(tokens as f64));
    put("output_throughput", json!(per_second(figures.output_tokens)));
    let total = figures
        .input_tokens
        .zip(figures.output_tokens)
        .map(|(input, output)| input + output);
    put("total_token_throughput", json!(per_second(total)));
    put("max_output_tokens_per_s", json!(figures.peak_output_tokens));
    put("max_concurrent_requests", json!(figures.peak_in_flight));
    for (name, values) in [
        ("ttft", figures.ttft()),
        ("tpot", figures.tpot()),
        ("e2el", figures.latency()),
        ("client_queue_time", figures.client_queue()),
    ] {
        for (key, value) in statistics(name, &values) {
            put(&key, json!(value));
        }
    }
    details(&analysis.record().requests, &mut out);
    Value::Object(out)
}

/// `mean_ttft_ms`, `median_ttft_ms`, `std_ttft_ms`, `p99_ttft_ms` and other quantiles.
fn statistics(name: &str, values: &Values) -> Vec<(String, Option<f64>)> {
    let ms = |secs: Option<f64>| secs.map(|secs| secs * 1e3);
    let mut all = vec![
        (format!("mean_{name}_ms"), ms(values.mean())),
        (format!("median_{name}_ms"), ms(values.quantile(0.5))),
        (format!("std_{name}_ms"), ms(values.std())),
    ];
    for (q, quantile) in [
        (0.5, "p50"),
        (0.9, "p90"),
        (0.95, "p95"),
        (0.99, "p99"),
        (0.999, "p99.9"),
    ] {
        all.push((format!("{quantile}_{name}_ms"), ms(values.quantile(q))));
    }
    all
}

/// One entry per request. The time of each token is not recorded: readers add up `ttfts` and `itls`, so that each
/// request has its mean inter-token latency as often as it had tokens after the first.
fn details(rows: &[RequestRow], out: &mut Map<String, Value>) {
    let first_ns = rows.iter().map(started_ns).min().unwrap_or(0);
    let failed = |row: &RequestRow| row.outcome != Outcome::Completed;
    let list = |of: &dyn Fn(&RequestRow) -> Value| Value::Array(rows.iter().map(of).collect());
    let secs = |ns: i64| ns as f64 / 1e9;
    out.insert(
        "input_lens".into(),
        list(&|row| json!(row.prompt_tokens.unwrap_or(0))),
    );
    out.insert(
        "output_lens".into(),
        list(&|row| json!(row.output_tokens.filter(|_| !failed(row)).unwrap_or(0))),
    );
    out.insert(
        "ttfts".into(),
        list(&|row| json!(ttft_sent_secs(row).unwrap_or(0.0))),
    );
    out.insert(
        "itls".into(),
        list(&|row| {
            let gaps = row.output_tokens.map_or(0, |tokens| tokens.saturating_sub(1));
            match tpot_secs(row).filter(|_| !failed(row)) {
                Some(tpot) => json!(vec![tpot; gaps as usize]),
                None => json!([]),
            }
        }),
    );
    out.insert(
        "start_times".into(),
        list(&|row| json!(secs(started_ns(row) - first_ns))),
    );
    out.insert("generated_texts".into(), list(&|_| json!("")));
    out.insert(
        "errors".into(),
        list(&|row| match failed(row) {
            true => json!(row.reason.as_deref().unwrap_or(row.outcome.as_str())),
            false => json!(""),
        }),
    );
}

/// `%Y%m%d-%H%M%S` in UTC.
fn date(ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(ns)).map_or_else(
        |_| String::new(),
        |time| {
            time.to_zoned(jiff::tz::TimeZone::UTC)
                .strftime("%Y%m%d-%H%M%S")
                .to_string()
        },
    )
}
