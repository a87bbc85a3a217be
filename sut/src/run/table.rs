//! The table at the end of a run.

use std::fmt::Write as _;
use std::path::PathBuf;

use vllm_client::ReplicaStatus;

use crate::harness::counters::Failures;
use crate::harness::request_log::{LatencyStats, percentile};

/// Column of the values.
pub(crate) const VALUES: usize = 17;

/// The input of the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct SummaryTable {
    /// `Llama-3.1-8B, Offline, performance`.
    pub(crate) title: String,
    /// The data are from the simulator.
    pub(crate) simulated: bool,
    /// LoadGen's verdict, or why there is none.
    pub(crate) result: String,
    /// Why the result does not count, and what limits its value, one sentence each.
    pub(crate) remarks: Vec<String>,
    /// Queries that LoadGen issued.
    pub(crate) issued: u64,
    /// Why LoadGen planned more samples than the least duration asks for.
    pub(crate) rounding: Option<String>,
    /// Queries answered as failed.
    pub(crate) failures: Vec<Failures>,
    /// Failed attempts before the first token that were retried.
    pub(crate) retries: Vec<Failures>,
    /// Irregularities of completed answers.
    pub(crate) answers: Vec<Failures>,
    /// The status of each replica; shown if there are several.
    pub(crate) replicas: Vec<ReplicaStatus>,
    /// LoadGen's own tokens per second.
    pub(crate) loadgen_tokens_per_sec: Option<f64>,
    /// What the harness measured.
    pub(crate) measured: LatencyStats,
    /// LoadGen measures the time to first token in this scenario.
    pub(crate) has_first_token: bool,
    /// What the recorder reports about itself and about what is missing, one line each.
    pub(crate) recorder: Vec<String>,
    /// The output files.
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
        if let Some(rounding) = &self.rounding {
            row("", format!("planned: {rounding}"));
        }
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
        let mut answers = self.answers.iter();
        if let Some(Failures { kind, count, first }) = answers.next() {
            row("answers", format!("{count} x {kind}: {first}"));
        }
        for Failures { kind, count, first } in answers {
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
    let at = |p| percentile(sorted_ns, p).map(time);
    match (at(50.0), at(90.0), at(99.0)) {
        (Some(p50), Some(p90), Some(p99)) => {
            format!(
                "p50 {p50}, p90 {p90}, p99 {p99} ({what}, n = {})",
                sorted_ns.len()
            )
        }
        _ => "none: no query got that far, or answers came in one piece".into(),
    }
}

/// A time with two decimal places, in seconds from ten seconds on.
fn time(ns: i64) -> String {
    if ns.abs() < 10_000_000_000 {
        format!("{:.2} ms", ns as f64 / 1e6)
    } else {
        format!("{:.2} s", ns as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of a fixed run, line by line.
    #[test]
    fn the_table_of_a_run() {
        let stats = LatencyStats {
            completed: 3,
            output_tokens: 30,
            duration_secs: 1.5,
            tokens_per_sec: Some(20.0),
            queries_per_sec: Some(2.0),
            ttft_ns: vec![1_000_000, 2_000_000, 3_000_000],
            tpot_ns: vec![500_000; 3],
            latency_ns: vec![10_000_000, 20_000_000, 12_000_000_000],
            ..LatencyStats::default()
        };
        let table = SummaryTable {
            title: "m, Server, PerformanceOnly".into(),
            simulated: true,
            result: "INVALID".into(),
            remarks: vec!["not a valid result:".into(), "- a reason".into()],
            issued: 4,
            rounding: Some("rounded up from 3 samples".into()),
            failures: vec![Failures {
                kind: "status",
                count: 1,
                first: "503".into(),
            }],
            answers: vec![
                Failures {
                    kind: "usage_disagrees",
                    count: 2,
                    first: "the server counts 5 tokens and sent 4 token ids".into(),
                },
                Failures {
                    kind: "sent_again",
                    count: 1,
                    first: "the server closed a kept connection".into(),
                },
            ],
            loadgen_tokens_per_sec: Some(19.5),
            measured: stats,
            has_first_token: true,
            files: vec![("result", "logs/result.json".into())],
            ..SummaryTable::default()
        };
        let wanted = "\x20 run            m, Server, PerformanceOnly   [SIMULATED]
  result         INVALID
                 not a valid result:
                 - a reason
  queries        4 issued, 3 completed, 1 failed
                 planned: rounded up from 3 samples
                 1 x status: 503
  answers        2 x usage_disagrees: the server counts 5 tokens and sent 4 token ids
                 1 x sent_again: the server closed a kept connection
  throughput     20.00 tokens/s (LoadGen: 19.50), 2.00 queries/s over 1.5 s
  TTFT           p50 2.00 ms, p90 3.00 ms, p99 3.00 ms (scheduled to first token, n = 3)
  TPOT           p50 0.50 ms, p90 0.50 ms, p99 0.50 ms ((last - first token) / (tokens - 1), n = 3)
  latency        p50 20.00 ms, p90 12.00 s, p99 12.00 s (scheduled to last token, n = 3)
  result         logs/result.json
";
        assert_eq!(table.render(), wanted);
    }
}
