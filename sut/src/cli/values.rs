//! Enumerated values of flags, and their meanings.

use std::convert::Infallible;
use std::str::FromStr;

use clap::ValueEnum;
use mlperf_rules::RuleScenario;
use mlperf_rules::compliance::ComplianceTest;
use serde::{Deserialize, Deserializer};
use vllm_client::Strategy;
use vllm_metrics::store::StoreFormat;

/// LoadGen's scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[value(rename_all = "PascalCase")]
pub enum ScenarioArg {
    /// All samples at once; the result is tokens per second.
    #[value(alias = "offline")]
    Offline,
    /// Poisson arrivals at --target-qps, with limits on time to first token and time per output token.
    #[value(alias = "server")]
    Server,
    /// Server with the benchmark's tighter limits.
    #[value(alias = "interactive")]
    Interactive,
    /// One query at a time.
    #[value(alias = "singlestream", alias = "single-stream")]
    SingleStream,
    /// Eight samples per query, one query at a time.
    #[value(alias = "multistream", alias = "multi-stream")]
    MultiStream,
}

/// LoadGen's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeArg {
    /// Timed run.
    Performance,
    /// Every sample of the dataset once, with answers logged and scored.
    Accuracy,
    /// Performance, then accuracy (then --compliance, if given), each in its own process, with logs in
    /// performance/run_1, accuracy and TEST06 under --output-log-dir.
    Both,
}

/// A compliance test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum ComplianceArg {
    /// None (default).
    #[value(name = "none")]
    #[serde(rename = "none")]
    None,
    /// Token ids of a timed run: first tokens, ends and lengths must be consistent.
    #[value(name = "TEST06", alias = "test06")]
    #[serde(rename = "TEST06")]
    Test06,
    /// Exact match of a timed run over a separate sample set (gpt-oss-120b).
    #[value(name = "TEST07", alias = "test07")]
    #[serde(rename = "TEST07")]
    Test07,
    /// Mean length of a timed run's answers (gpt-oss-120b).
    #[value(name = "TEST09", alias = "test09")]
    #[serde(rename = "TEST09")]
    Test09,
}

/// Amount of console logging, with the level names of Python harnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[value(rename_all = "UPPER")]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// Everything.
    #[value(alias = "debug")]
    Debug,
    /// Informational messages (default).
    #[value(alias = "info")]
    Info,
    /// Only warnings and errors.
    #[value(alias = "warning")]
    Warning,
    /// Only errors.
    #[value(alias = "error")]
    Error,
    /// The same as ERROR, for compatibility.
    #[value(alias = "critical")]
    Critical,
}

/// How a run shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UiArg {
    /// A screen with the run's figures; lines if standard error is not a terminal.
    Tui,
    /// A line every 5 s.
    Plain,
    /// Nothing.
    None,
}

/// File format of the raw metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormatArg {
    /// Columnar and smallest (default).
    Parquet,
    /// One array of objects; many times the size of Parquet.
    Json,
    /// One row per sample; many times the size of Parquet.
    Csv,
    /// A table that can be queried during the run.
    Sqlite,
    /// Prometheus text with timestamps.
    Prom,
}

/// How a server is selected for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalanceArg {
    /// Each in turn (default).
    RoundRobin,
    /// The server with the fewest prompt and output tokens in flight.
    LeastTokens,
    /// The server with the fewest requests in flight.
    ShortestQueue,
}

impl From<ScenarioArg> for RuleScenario {
    fn from(arg: ScenarioArg) -> Self {
        match arg {
            ScenarioArg::Offline => Self::Offline,
            ScenarioArg::Server => Self::Server,
            ScenarioArg::Interactive => Self::Interactive,
            ScenarioArg::SingleStream => Self::SingleStream,
            ScenarioArg::MultiStream => Self::MultiStream,
        }
    }
}

impl ComplianceArg {
    /// The test; `None` for none.
    pub(crate) fn test(self) -> Option<ComplianceTest> {
        match self {
            Self::None => None,
            Self::Test06 => Some(ComplianceTest::Test06),
            Self::Test07 => Some(ComplianceTest::Test07),
            Self::Test09 => Some(ComplianceTest::Test09),
        }
    }
}

impl From<BalanceArg> for Strategy {
    fn from(arg: BalanceArg) -> Self {
        match arg {
            BalanceArg::RoundRobin => Self::RoundRobin,
            BalanceArg::LeastTokens => Self::LeastOutstandingTokens,
            BalanceArg::ShortestQueue => Self::ShortestQueue,
        }
    }
}

impl From<FormatArg> for StoreFormat {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Parquet => Self::Parquet,
            FormatArg::Json => Self::Json,
            FormatArg::Csv => Self::Csv,
            FormatArg::Sqlite => Self::Sqlite,
            FormatArg::Prom => Self::PrometheusText,
        }
    }
}

/// A duration as written: `30s`, `10m`, `250ms`, or a number of seconds; in a configuration file also a bare
/// number. It is parsed with the plan, so that all problems are reported together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeText(pub String);

impl FromStr for TimeText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for TimeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a duration like \"30s\" or a number of seconds")]
        enum Written {
            Seconds(f64),
            Text(String),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Seconds(seconds) => seconds.to_string(),
            Written::Text(text) => text,
        }))
    }
}
