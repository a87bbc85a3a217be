//! LoadGen's detail log, as lines and as a typed result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// One `:::MLLOG` line of the detail log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogEntry {
    /// Line number, counted from 1.
    pub line: usize,
    /// The key.
    pub key: String,
    /// The value. LoadGen's infinities and NaN, which are not JSON, are strings here.
    pub value: Value,
    /// Milliseconds since the log was opened, by LoadGen's clock.
    pub time_ms: f64,
    /// LoadGen counts it as an error.
    pub is_error: bool,
    /// LoadGen counts it as a warning.
    pub is_warning: bool,
}

impl LogEntry {
    /// The value as one line of text, strings without quotes.
    pub fn text(&self) -> String {
        self.value
            .as_str()
            .map_or_else(|| self.value.to_string(), str::to_owned)
    }
}

/// What LoadGen wrote about one test.
///
/// Logs of killed tests are readable too: missing values are `None` in [`result`](Self::result), and a
/// truncated last line is in [`unreadable`](Self::unreadable).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadGenLog {
    /// All lines, in order.
    pub entries: Vec<LogEntry>,
    /// Numbers of LoadGen's lines that cannot be parsed, with the reason.
    pub unreadable: Vec<(usize, String)>,
    /// The values that matter, typed.
    pub result: RunResult,
    /// The human-readable summary, unchanged; empty if the test was cut short.
    pub summary: String,
}

/// LoadGen's verdict on a performance test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// All constraints are met. Errors may still have been logged.
    Valid,
    /// At least one constraint is not met.
    Invalid,
}

/// Latencies of one kind, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Latencies {
    /// Smallest, ns.
    pub min_ns: Option<i64>,
    /// Largest, ns.
    pub max_ns: Option<i64>,
    /// Arithmetic mean, ns.
    pub mean_ns: Option<i64>,
    /// Pairs of (percentile such as 99.0 or 99.9, ns), ascending.
    pub percentiles_ns: Vec<(f64, i64)>,
}

impl Latencies {
    /// The latency at a percentile that LoadGen reports (50, 90, 95, 97, 99 and 99.9), ns.
    pub fn percentile_ns(&self, percentile: f64) -> Option<i64> {
        self.percentiles_ns
            .iter()
            .find(|(p, _)| (p - percentile).abs() < 1e-6)
            .map(|(_, ns)| *ns)
    }
}

/// The values of the detail log that describe the result. A value that was not logged is absent: what LoadGen
/// logs depends on the scenario, the mode and the benchmark.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RunResult {
    /// LoadGen's version and git revision.
    pub loadgen_version: Option<String>,
    /// Uncommitted changes in the LoadGen sources that were built; empty or "NA" if there are none.
    pub loadgen_git_status: Option<String>,
    /// SHA-1 of each of LoadGen's files.
    pub loadgen_file_sha1: BTreeMap<String, String>,
    /// The SUT's name.
    pub sut_name: Option<String>,
    /// The sample library's name.
    pub qsl_name: Option<String>,
    /// Local date and time of the test's start.
    pub test_datetime: Option<String>,
    /// An audit configuration was in effect.
    pub audit_config_found: bool,

    /// Valid or not; absent in accuracy tests and in tests that were cut.
    pub validity: Option<Validity>,
    /// Latency limits met (Server).
    pub perf_constraints_met: Option<bool>,
    /// Minimum duration met.
    pub min_duration_met: Option<bool>,
    /// Minimum query and sample counts met.
    pub min_queries_met: Option<bool>,
    /// Early-stopping test passed.
    pub early_stopping_met: Option<bool>,
    /// Early stopping's message on latency.
    pub early_stopping_result: Option<String>,
    /// Early stopping's message on time to first token. Empty if the time per output token failed first.
    pub early_stopping_ttft_result: Option<String>,
    /// Early stopping's message on time per output token.
    pub early_stopping_tpot_result: Option<String>,
    /// LoadGen's advice for an invalid result.
    pub invalid_reason: Option<String>,

    /// Queries issued.
    pub query_count: Option<u64>,
    /// Queries over the latency limit (Server).
    pub overlatency_query_count: Option<u64>,
    /// Queries that LoadGen prepared.
    pub generated_query_count: Option<u64>,
    /// Samples in each prepared query.
    pub generated_samples_per_query: Option<u64>,

    /// Server: rate of the schedule, 1/s.
    pub scheduled_samples_per_sec: Option<f64>,
    /// Server: rate up to the last completion, 1/s.
    pub completed_samples_per_sec: Option<f64>,
    /// All but Offline, with token latencies: tokens/s up to the last completion.
    pub completed_tokens_per_sec: Option<f64>,
    /// Offline, with token latencies: tokens/s.
    pub tokens_per_sec: Option<f64>,
    /// Offline: samples/s.
    pub samples_per_sec: Option<f64>,
    /// SingleStream: queries/s, LoadGen's own time included.
    pub qps_with_loadgen_overhead: Option<f64>,
    /// SingleStream: 1 / mean latency, 1/s.
    pub qps_without_loadgen_overhead: Option<f64>,

    /// Latency of samples.
    pub latency: Latencies,
    /// Latency of queries (MultiStream).
    pub query_latency: Latencies,
    /// Time to first token.
    pub ttft: Latencies,
    /// Time per output token after the first.
    pub tpot: Latencies,
    /// Early stopping's estimate of the SingleStream percentile, ns.
    pub early_stopping_latency_ss_ns: Option<i64>,
    /// Early stopping's estimate of the MultiStream percentile, ns.
    pub early_stopping_latency_ms_ns: Option<i64>,

    /// Start of the measured interval, UTC, `mm-dd-YYYY HH:MM:SS.mmm`.
    pub power_begin: Option<String>,
    /// End of the measured interval, same form.
    pub power_end: Option<String>,

    /// `requested_*` values by the rest of their key.
    pub requested: BTreeMap<String, Value>,
    /// `effective_*` values by the rest of their key.
    pub effective: BTreeMap<String, Value>,

    /// Errors as LoadGen counted them up to the result; absent in accuracy tests and in tests that were cut.
    pub num_errors: Option<u64>,
    /// Warnings as LoadGen counted them.
    pub num_warnings: Option<u64>,
    /// Texts of all error lines, in order; more than `num_errors` if errors were logged after the result.
    pub errors: Vec<String>,
    /// Texts of all warning lines, in order.
    pub warnings: Vec<String>,
}

impl RunResult {
    /// Errors in the log: LoadGen's count or the number of error lines, whichever is larger.
    pub fn error_count(&self) -> u64 {
        self.num_errors.unwrap_or(0).max(self.errors.len() as u64)
    }

    /// A number among the `effective_*` values.
    pub fn effective_number(&self, key: &str) -> Option<f64> {
        self.effective.get(key).and_then(Value::as_f64)
    }
}

impl LoadGenLog {
    /// Reads the logs of a folder, under LoadGen's default names.
    ///
    /// # Errors
    /// [`Error::ReadLog`] or [`Error::NoLog`] for the detail log. A missing summary is an empty one: LoadGen
    /// writes it last.
    pub fn read(dir: &Path) -> Result<Self> {
        Self::read_files(
            &dir.join("mlperf_log_detail.txt"),
            &dir.join("mlperf_log_summary.txt"),
        )
    }

    /// Reads a detail log and a summary.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_files(detail: &Path, summary: &Path) -> Result<Self> {
        let read_log = |path: &Path| {
            fs::read(path).map_err(|source| Error::ReadLog {
                path: PathBuf::from(path),
                source,
            })
        };
        // A killed test may have truncated a multi-byte character.
        let text = String::from_utf8_lossy(&read_log(detail)?).into_owned();
        let summary_text = match read_log(summary) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(Error::ReadLog { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(error) => return Err(error),
        };
        let log = Self::parse(&text, &summary_text);
        if log.entries.is_empty() {
            return Err(Error::NoLog {
                path: detail.to_owned(),
            });
        }
        Ok(log)
    }

    /// Parses the texts of a detail log and a summary. Lines that are not LoadGen's are skipped.
    pub fn parse(detail: &str, summary: &str) -> Self {
        let mut entries = Vec::new();
        let mut unreadable = Vec::new();
        for (i, line) in detail.lines().enumerate() {
            let Some((_, json)) = line.split_once(":::MLLOG ") else {
                continue;
            };
            match parse_entry(i + 1, json) {
                Ok(entry) => entries.push(entry),
                Err(reason) => unreadable.push((i + 1, reason)),
            }
        }
        let result = RunResult::from_entries(&entries);
        Self {
            entries,
            unreadable,
            result,
            summary: summary.to_owned(),
        }
    }

    /// The last value of a key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries
            .iter()
            .rev()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }
}

fn parse_entry(line: usize, json: &str) -> Result<LogEntry, String> {
    let parsed = serde_json::from_str(json).or_else(|error| {
        // LoadGen writes doubles that JSON does not support.
        ["NaN", "Infinity", "-Infinity"]
            .iter()
            .find_map(|word| {
                let bare = format!("\"value\": {word},");
                json.contains(&bare)
                    .then(|| json.replacen(&bare, &format!("\"value\": \"{word}\","), 1))
            })
            .map_or(Err(error), |quoted| serde_json::from_str(&quoted))
    });
    let mut object: Value = parsed.map_err(|error| error.to_string())?;
    let metadata = |name: &str| object["metadata"][name].as_bool().unwrap_or(false);
    Ok(LogEntry {
        line,
        key: object["key"].as_str().ok_or("no key")?.to_owned(),
        time_ms: object["time_ms"].as_f64().unwrap_or_default(),
        is_error: metadata("is_error"),
        is_warning: metadata("is_warning"),
        value: object["value"].take(),
    })
}

impl RunResult {
    /// In a log with several series (submission mode) the last value of a key counts.
    fn from_entries(entries: &[LogEntry]) -> Self {
        let mut result = Self::default();
        for entry in entries {
            if entry.is_error {
                result.errors.push(entry.text());
            } else if entry.is_warning {
                if entry.text().contains("Found Audit Config") {
                    result.audit_config_found = true;
                }
                result.warnings.push(entry.text());
            } else {
                result.take(entry);
            }
        }
        for latencies in [
            &mut result.latency,
            &mut result.query_latency,
            &mut result.ttft,
            &mut result.tpot,
        ] {
            latencies.percentiles_ns.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        result
    }

    fn take(&mut self, entry: &LogEntry) {
        let value = &entry.value;
        let text = || value.as_str().map(str::to_owned);
        let truth = || value.as_bool();
        let count = || value.as_u64();
        let number = || value.as_f64();
        let ns = || value.as_i64();
        match entry.key.as_str() {
            "loadgen_version" => self.loadgen_version = text(),
            "loadgen_git_status_message" => self.loadgen_git_status = text(),
            "loadgen_file_sha1" => {
                self.loadgen_file_sha1 = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(file, hash)| Some((file.clone(), hash.as_str()?.to_owned())))
                    .collect();
            }
            "sut_name" => self.sut_name = text(),
            "qsl_name" => self.qsl_name = text(),
            "test_datetime" => self.test_datetime = text(),
            "result_validity" => {
                self.validity = match value.as_str() {
                    Some("VALID") => Some(Validity::Valid),
                    Some("INVALID") => Some(Validity::Invalid),
                    _ => None,
                };
            }
            "result_perf_constraints_met" => self.perf_constraints_met = truth(),
            "result_min_duration_met" => self.min_duration_met = truth(),
            "result_min_queries_met" => self.min_queries_met = truth(),
            "early_stopping_met" => self.early_stopping_met = truth(),
            "early_stopping_result" => self.early_stopping_result = text(),
            "early_stopping_ttft_result" => self.early_stopping_ttft_result = text(),
            "early_stopping_tpot_result" => self.early_stopping_tpot_result = text(),
            "result_invalid_reason" => self.invalid_reason = text(),
            "result_query_count" => self.query_count = count(),
            "result_overlatency_query_count" => self.overlatency_query_count = count(),
            "generated_query_count" => self.generated_query_count = count(),
            "generated_samples_per_query" => self.generated_samples_per_query = count(),
            "result_scheduled_samples_per_sec" => self.scheduled_samples_per_sec = number(),
            "result_completed_samples_per_sec" => self.completed_samples_per_sec = number(),
            "result_completed_tokens_per_second" => self.completed_tokens_per_sec = number(),
            "result_tokens_per_second" => self.tokens_per_sec = number(),
            "result_samples_per_second" => self.samples_per_sec = number(),
            "result_qps_with_loadgen_overhead" => self.qps_with_loadgen_overhead = number(),
            "result_qps_without_loadgen_overhead" => self.qps_without_loadgen_overhead = number(),
            "early_stopping_latency_ss" => self.early_stopping_latency_ss_ns = ns(),
            "early_stopping_latency_ms" => self.early_stopping_latency_ms_ns = ns(),
            "power_begin" => self.power_begin = text(),
            "power_end" => self.power_end = text(),
            "num_errors" => self.num_errors = count(),
            "num_warnings" => self.num_warnings = count(),
            key => {
                if let Some(rest) = key.strip_prefix("requested_") {
                    self.requested.insert(rest.to_owned(), value.clone());
                } else if let Some(rest) = key.strip_prefix("effective_") {
                    self.effective.insert(rest.to_owned(), value.clone());
                } else if let Some((kind, statistic)) = latency_key(key) {
                    let latencies = match kind {
                        Kind::Sample => &mut self.latency,
                        Kind::Query => &mut self.query_latency,
                        Kind::FirstToken => &mut self.ttft,
                        Kind::OutputToken => &mut self.tpot,
                    };
                    latencies.set(statistic, value.as_i64());
                }
            }
        }
    }
}

impl Latencies {
    fn set(&mut self, statistic: &str, ns: Option<i64>) {
        match statistic {
            "min" => self.min_ns = ns,
            "max" => self.max_ns = ns,
            "mean" => self.mean_ns = ns,
            percentile => {
                if let (Ok(percentile), Some(ns)) = (percentile.parse::<f64>(), ns) {
                    self.percentiles_ns.retain(|(known, _)| *known != percentile);
                    self.percentiles_ns.push((percentile, ns));
                }
            }
        }
    }
}

enum Kind {
    Sample,
    Query,
    FirstToken,
    OutputToken,
}

/// Which latency a key is for, and which statistic: "min", "max", "mean", or a percentile's number.
fn latency_key(key: &str) -> Option<(Kind, &str)> {
    let rest = key.strip_prefix("result_")?;
    if let Some(rest) = rest.strip_prefix("first_token_") {
        let rest = rest.strip_suffix("_latency_ns")?;
        return Some((Kind::FirstToken, rest.strip_suffix("_percentile").unwrap_or(rest)));
    }
    if let Some(rest) = rest.strip_prefix("time_per_output_token_") {
        return Some((Kind::OutputToken, rest.strip_suffix("_percentile_ns")?));
    }
    // LoadGen's name for the same quantity, in three of its statistics.
    if let Some(rest) = rest.strip_prefix("time_to_output_token_") {
        return Some((Kind::OutputToken, rest));
    }
    if let Some(rest) = rest.strip_suffix("_percentile_per_query_latency_ns") {
        return Some((Kind::Query, rest));
    }
    if let Some(rest) = rest.strip_suffix("_query_latency_ns") {
        return Some((Kind::Query, rest));
    }
    let rest = rest.strip_suffix("_latency_ns")?;
    Some((Kind::Sample, rest.strip_suffix("_percentile").unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, value: &str, flags: &str) -> String {
        format!(
            r#":::MLLOG {{"key": "{key}", "value": {value}, "time_ms": 12.000345, "namespace": "mlperf::logging", "event_type": "POINT_IN_TIME", "metadata": {{{flags}"file": "x.cc", "line_no": 1, "pid": 2, "tid": 3}}}}"#
        )
    }

    #[test]
    fn keys_become_fields() {
        let text = [
            line("result_validity", "\"INVALID\"", ""),
            line("result_first_token_99.90_percentile_latency_ns", "30", ""),
            line("result_first_token_99.00_percentile_latency_ns", "20", ""),
            line("result_first_token_min_latency_ns", "1", ""),
            line("result_time_per_output_token_99.00_percentile_ns", "5", ""),
            line("result_time_to_output_token_mean", "4", ""),
            line("result_99.00_percentile_latency_ns", "50", ""),
            line("result_99.00_percentile_per_query_latency_ns", "60", ""),
            line("result_mean_query_latency_ns", "55", ""),
            line("result_completed_tokens_per_second", "NaN", ""),
            line("effective_target_qps", "7.500000", ""),
            line("error_runtime", "\"too bad\"", "\"is_error\": true, "),
            line(
                "warning_generic_message",
                "\"Found Audit Config file (audit.config).\"",
                "\"is_warning\": true, ",
            ),
            line("num_errors", "1", ""),
            ":::MLLOG {\"key\": \"cut".to_owned(),
        ]
        .join("\n");
        let log = LoadGenLog::parse(&text, "summary");
        let result = &log.result;
        assert_eq!(result.validity, Some(Validity::Invalid));
        assert_eq!(result.ttft.percentiles_ns, [(99.0, 20), (99.9, 30)]);
        assert_eq!(result.ttft.min_ns, Some(1));
        assert_eq!(
            (result.tpot.percentile_ns(99.0), result.tpot.mean_ns),
            (Some(5), Some(4))
        );
        assert_eq!(result.latency.percentile_ns(99.0), Some(50));
        assert_eq!(result.query_latency.percentile_ns(99.0), Some(60));
        assert_eq!(result.query_latency.mean_ns, Some(55));
        assert_eq!(result.completed_tokens_per_sec, None);
        assert_eq!(log.value("result_completed_tokens_per_second").unwrap(), "NaN");
        assert_eq!(result.effective_number("target_qps"), Some(7.5));
        assert_eq!(result.errors, ["too bad"]);
        assert!(result.audit_config_found);
        assert_eq!((result.num_errors, result.error_count()), (Some(1), 1));
        assert_eq!(log.unreadable.len(), 1);
        assert_eq!(log.unreadable[0].0, 15);
    }
}
