//! The closing block of `vllm bench serve`, with its labels in its order.

use std::fmt::Write as _;

use super::figures::{Figures, Values};
use crate::analysis::Analysis;

/// What `vllm bench serve` prints at its end, of this run. A figure that is not known has no line.
///
/// The figures are those of the whole run; the lines after the last block name the steady window's.
pub fn console(analysis: &Analysis<'_>) -> String {
    let figures = Figures::of(analysis);
    let facts = &analysis.run.facts;
    let mut out = String::new();
    title(&mut out, " Serving Benchmark Result ", '=');
    count(
        &mut out,
        "Successful requests:",
        Some(figures.completed.len() as u64),
    );
    count(&mut out, "Failed requests:", Some(figures.failed as u64));
    count(
        &mut out,
        "Maximum request concurrency:",
        facts.concurrency.map(u64::from),
    );
    let rate = facts.target_qps.filter(|_| facts.scenario.is_scheduled());
    decimal(&mut out, "Request rate configured (RPS):", rate);
    decimal(&mut out, "Benchmark duration (s):", Some(figures.duration_secs));
    count(&mut out, "Total input tokens:", figures.input_tokens);
    count(&mut out, "Total generated tokens:", figures.output_tokens);
    let per_second = |tokens: Option<u64>| tokens.and_then(|tokens| figures.per_second(tokens as f64));
    decimal(
        &mut out,
        "Request throughput (req/s):",
        figures.per_second(figures.completed.len() as f64),
    );
    decimal(&mut out, "Request goodput (req/s):", figures.goodput_per_second);
    decimal(
        &mut out,
        "Output token throughput (tok/s):",
        per_second(figures.output_tokens),
    );
    decimal(
        &mut out,
        "Peak output token throughput (tok/s):",
        figures.peak_output_tokens,
    );
    decimal(&mut out, "Peak concurrent requests:", figures.peak_in_flight);
    let total = figures
        .input_tokens
        .zip(figures.output_tokens)
        .map(|(input, output)| input + output);
    decimal(&mut out, "Total token throughput (tok/s):", per_second(total));
    for (heading, label, values) in [
        ("Time to First Token", "TTFT", figures.ttft()),
        ("Time per Output Token (excl. 1st token)", "TPOT", figures.tpot()),
        ("End-to-end Latency", "E2EL", figures.latency()),
    ] {
        latency(&mut out, heading, label, &values);
    }
    title(&mut out, "", '=');
    out
}

fn title(out: &mut String, text: &str, fill: char) {
    let side = 50_usize.saturating_sub(text.len());
    let left = side / 2;
    let line = |n: usize| fill.to_string().repeat(n);
    let _infallible = writeln!(out, "{}{text}{}", line(left), line(side - left));
}

fn count(out: &mut String, label: &str, value: Option<u64>) {
    if let Some(value) = value {
        let _infallible = writeln!(out, "{label:<40} {value:<10}");
    }
}

fn decimal(out: &mut String, label: &str, value: Option<f64>) {
    if let Some(value) = value {
        let _infallible = writeln!(out, "{label:<40} {value:<10.2}");
    }
}

fn latency(out: &mut String, heading: &str, label: &str, values: &Values) {
    if values.count() == 0 {
        return;
    }
    title(out, heading, '-');
    let ms = |secs: Option<f64>| secs.map(|secs| secs * 1e3);
    decimal(out, &format!("Mean {label} (ms):"), ms(values.mean()));
    decimal(out, &format!("Median {label} (ms):"), ms(values.quantile(0.5)));
    decimal(out, &format!("P99 {label} (ms):"), ms(values.quantile(0.99)));
}
