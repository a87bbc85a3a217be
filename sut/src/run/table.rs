//! The table at the end of a run.

use std::fmt::Write as _;
use std::path::PathBuf;

use vllm_client::ReplicaStatus;

use crate::harness::counters::Failures;
use crate::harness::request_log::{LatencyStats, percentile};

/// Everything the table shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct SummaryTable {
    /// `Llama-3.1-8B, Offline, performance`.
    pub(crate) title: String,
    /// The data come from the simulator.
    pub(crate) simulated: bool,
    /// LoadGen's word, or why there is none.
    pub(crate) result: String,
    /// Why the result does not count, or what limits its worth, a sentence each.
    pub(crate) remarks: Vec<String>,
    /// Queries that LoadGen issued.
    pub(crate) issued: u64,
    /// Queries answered as failed.
    pub(crate) failures: Vec<Failures>,
    /// Attempts that failed before their first token and were followed by another.
    pub(crate) retries: Vec<Failures>,
    /// What each replica did; shown where there are several.
    pub(crate) replicas: Vec<ReplicaStatus>,
    /// LoadGen's own tokens per second.
    pub(crate) loadgen_tokens_per_sec: Option<f64>,
    /// What the harness measured.
    pub(crate) measured: LatencyStats,
    /// LoadGen measures the time to first token in this scenario.
    pub(crate) has_first_token: bool,
    /// What the recorder says of itself and of what is missing, a line each.
    pub(crate) recorder: Vec<String>,
    /// Where the files are.
    pub(crate) files: Vec<(&'static str, PathBuf)>,
}

impl SummaryTable {
    /// The table as text, ending with a line break.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "  {name:<14} {value}");
        };
        let mark = if self.simulated { "   [SIMULATED]" } else { "" };
        row("run", format!("{}{mark}", self.title));
        row("result", self.result.clone());
        for remark in &self.remarks {
            row("", remark.clone());
        }
        let m = &self.measured;
        let failed: u64 = self.failures.iter().map(|f| f.count).sum();
        row(
            "queries",
            format!(
                "{} issued, {} completed, {failed} failed",
                self.issued, m.completed
            ),
        );
        for Failures { kind, count, first } in &self.failures {
            row("", format!("{count} x {kind}: {first}"));
        }
        let retried: u64 = self.retries.iter().map(|f| f.count).sum();
        if retried > 0 {
            row(
                "retries",
                format!("{retried} attempts failed before their first token and were made again"),
            );
        }
        for Failures { kind, count, first } in &self.retries {
            row("", format!("{count} x {kind}: {first}"));
        }
        if self.replicas.len() > 1 {
            for replica in &self.replicas {
                row(
                    "replica",
                    format!(
                        "{}: {} completed, {} attempts failed{}",
                        replica.url,
                        replica.completed,
                        replica.failed,
                        if replica.resting {
                            ", passed over at the end"
                        } else {
                            ""
                        }
                    ),
                );
            }
        }
        let rate = |value: Option<f64>| value.map_or("none".to_owned(), |v| format!("{v:.2}"));
        let loadgen = self
            .loadgen_tokens_per_sec
            .map_or(String::new(), |v| format!(" (LoadGen: {v:.2})"));
        row(
            "throughput",
            format!(
                "{} tokens/s{loadgen}, {} queries/s over {:.1} s",
                rate(m.tokens_per_sec),
                rate(m.queries_per_sec),
                m.duration_secs
            ),
        );
        if self.has_first_token {
            row("TTFT", quantiles(&m.ttft_ns, "scheduled to first token"));
        } else {
            row(
                "TTFT",
                quantiles(
                    &m.ttft_from_send_ns,
                    "sent to first token; LoadGen has no limit on it here",
                ),
            );
        }
        row(
            "TPOT",
            quantiles(&m.tpot_ns, "(last - first token) / (tokens - 1)"),
        );
        row("latency", quantiles(&m.latency_ns, "scheduled to last token"));
        for line in &self.recorder {
            row("metrics", line.clone());
        }
        for (name, path) in &self.files {
            row(name, path.display().to_string());
        }
        out
    }
}

fn quantiles(sorted_ns: &[i64], what: &str) -> String {
    let ms = |p| percentile(sorted_ns, p).map(|ns| ns as f64 / 1e6);
    match (ms(50.0), ms(90.0), ms(99.0)) {
        (Some(p50), Some(p90), Some(p99)) => {
            format!(
                "p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms ({what}, n = {})",
                sorted_ns.len()
            )
        }
        _ => "none: no query got that far, or answers came in one piece".into(),
    }
}
