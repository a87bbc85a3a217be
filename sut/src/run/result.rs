//! `result_<stamp>.json`: verdict, reasons, headline figures with their definitions, settings and files of
//! one run, in machine-readable form.

use std::path::{Path, PathBuf};

use mlperf_rules::files;
use serde_json::{Value, json};

use super::outcome::RunOutcome;
use crate::harness::counters::Failures;
use crate::harness::request_log::{LatencyStats, percentile};
use crate::workload::ExpectedSamples;

/// The input of the file.
pub(super) struct RunResult<'a> {
    /// `YYYYMMDD_HHMMSS` in UTC: the record's stamp, if there is a record.
    pub(super) stamp: &'a str,
    pub(super) outcome: &'a RunOutcome,
    /// Why the result does not count, and what limits its value, one sentence each.
    pub(super) reasons: &'a [String],
    /// The content of `sut_run.json`.
    pub(super) run: Value,
    pub(super) stats: &'a LatencyStats,
    pub(super) issued: u64,
    pub(super) failures: &'a [Failures],
    pub(super) retries: &'a [Failures],
    /// Irregularities of completed answers.
    pub(super) remarks: &'a [Failures],
    pub(super) loadgen_tokens_per_sec: Option<f64>,
    pub(super) min_duration_secs: f64,
    pub(super) min_query_count: u64,
    /// `None` under an audit file.
    pub(super) expected: Option<ExpectedSamples>,
    /// Requests sent to each server before the test.
    pub(super) warmup_requests: usize,
    /// The summary of the record, if it was written.
    pub(super) summary: Option<&'a Path>,
    /// What is missing in the record, one line each.
    pub(super) missing: Vec<&'a String>,
    pub(super) files: &'a [(&'static str, PathBuf)],
}

impl RunResult<'_> {
    /// Writes the file into LoadGen's log folder and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&self, log_dir: &Path) -> std::io::Result<PathBuf> {
        let path = log_dir.join(format!("result_{}.json", self.stamp));
        let text = serde_json::to_string_pretty(&self.to_json()).map_err(std::io::Error::other)?;
        files::write(&path, &(text + "\n"))?;
        Ok(path)
    }

    fn to_json(&self) -> Value {
        let stats = self.stats;
        let summary: Option<Value> = self
            .summary
            .and_then(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok());
        let of_summary = |key: &str| summary.as_ref().and_then(|summary| summary.get(key)).cloned();
        let failed: u64 = self.failures.iter().map(|failure| failure.count).sum();
        json!({
            "schema_version": 1,
            "stamp": self.stamp,
            "outcome": self.outcome.to_string(),
            "exit_status": self.outcome.exit() as u8,
            "counts": self.outcome.counts(),
            "reasons": self.reasons,
            "figures": {
                "samples_issued": figure(self.issued, "samples that LoadGen issued"),
                "samples_completed": figure(stats.completed, "samples answered in full"),
                "samples_failed": figure(failed, "samples answered as failed"),
                "duration_s": figure(
                    stats.duration_secs,
                    "first scheduled time to the last answer (Offline), else to the answer of the sample scheduled last",
                ),
                "output_tokens_per_s": figure(stats.tokens_per_sec, "output tokens of completed samples / duration_s"),
                "loadgen_tokens_per_s": figure(self.loadgen_tokens_per_sec, "LoadGen's own, from its log"),
                "samples_per_s": figure(stats.queries_per_sec, "completed samples / duration_s"),
                "ttft_scheduled_ms": quantiles(&stats.ttft_ns, "first token - scheduled time; LoadGen judges this one"),
                "ttft_sent_ms": quantiles(&stats.ttft_from_send_ns, "first token - request sent"),
                "tpot_ms": quantiles(&stats.tpot_ns, "(last token - first token) / (output tokens - 1)"),
                "latency_scheduled_ms": quantiles(&stats.latency_ns, "last token - scheduled time"),
                "issue_delay_ms": quantiles(&stats.issue_delay_ns, "request sent - scheduled time"),
                "goodput": of_summary("goodput"),
                "energy": of_summary("energy"),
            },
            "percentiles": "by LoadGen's rule: the value at index p / 100 * n of the ascending values, rounded down",
            "failures": kinds(self.failures),
            "retries": kinds(self.retries),
            "remarks": kinds(self.remarks),
            "run": self.run,
            "settings": {
                "min_duration_s": self.min_duration_secs,
                "min_query_count": self.min_query_count,
                "planned_samples": self.expected.map(|expected| expected.issued),
                "rounded_up_from_samples": self.expected.and_then(|expected| expected.rounded_up_from),
                "samples_per_pass": self.expected.and_then(|expected| expected.pass),
                "warmup_requests": self.warmup_requests,
            },
            "missing": self.missing,
            "files": self.files.iter().map(|(name, path)| json!({ "name": name, "path": path })).collect::<Vec<_>>(),
        })
    }
}

/// The current time as a stamp.
pub(super) fn stamp_now() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d_%H%M%S").to_string()
}

fn figure(value: impl serde::Serialize, definition: &str) -> Value {
    json!({ "value": value, "definition": definition })
}

fn quantiles(sorted_ns: &[i64], definition: &str) -> Value {
    let ms = |p| percentile(sorted_ns, p).map(|ns| ns as f64 / 1e6);
    let mean = (!sorted_ns.is_empty())
        .then(|| sorted_ns.iter().map(|ns| *ns as f64).sum::<f64>() / sorted_ns.len() as f64 / 1e6);
    json!({
        "n": sorted_ns.len(),
        "mean": mean,
        "p50": ms(50.0),
        "p90": ms(90.0),
        "p95": ms(95.0),
        "p99": ms(99.0),
        "p99_9": ms(99.9),
        "max": ms(100.0),
        "definition": definition,
    })
}

fn kinds(failures: &[Failures]) -> Vec<Value> {
    failures
        .iter()
        .map(|failure| json!({ "kind": failure.kind, "count": failure.count, "first": failure.first }))
        .collect()
}
