//! A run in the formats of other tools, with their keys and units.
//!
//! | format | file | read by |
//! |---|---|---|
//! | [`Format::VllmBench`] | `vllm_bench_<stamp>.json` | scripts for `vllm bench serve`; the same object in a list is a `summary.json` of `vllm bench sweep` |
//! | [`Format::Aiperf`] | `profile_export_aiperf_<stamp>.json` | tools for aiperf's exports, schema 1.4 |
//! | [`Format::Endpoints`] | `result_summary_<stamp>.json` | tools for MLPerf Endpoints' `performance/result_summary.json` |
//! | [`Format::Mlflow`] | `mlflow_<stamp>.json` | `scripts/send-mlflow`, which sends it to a tracking server |
//!
//! Figures come from the request rows by the same definitions as the summary's: TTFT is sent to first token, TPOT is
//! (done − first token) / (output tokens − 1), latency is sent to done. What the record does not hold is left out, or
//! null where a format requires the key.

mod aiperf;
mod console;
mod endpoints;
mod figures;
mod mlflow;
mod vllm_bench;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vllm_metrics::{HelpTexts, RunData};

pub use console::console;
pub use mlflow::{MOST_METRICS, MOST_PARAMS};

use crate::analysis::Analysis;
use crate::error::Result;

/// Another tool's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// What `vllm bench serve --save-result --save-detailed` writes.
    VllmBench,
    /// What aiperf writes as `profile_export_aiperf.json`.
    Aiperf,
    /// What MLPerf Endpoints writes as `performance/result_summary.json`.
    Endpoints,
    /// Requests for a tracking server of MLflow.
    Mlflow,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::VllmBench, Self::Aiperf, Self::Endpoints, Self::Mlflow];

    /// As a user names it: `vllm-bench`, `aiperf`, `endpoints` or `mlflow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::VllmBench => "vllm-bench",
            Self::Aiperf => "aiperf",
            Self::Endpoints => "endpoints",
            Self::Mlflow => "mlflow",
        }
    }

    /// The inverse of [`Format::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The run in this format.
    pub fn of(self, analysis: &Analysis<'_>) -> Value {
        match self {
            Self::VllmBench => vllm_bench::of(analysis),
            Self::Aiperf => aiperf::of(analysis),
            Self::Endpoints => endpoints::of(analysis),
            Self::Mlflow => mlflow::of(analysis),
        }
    }

    /// Writes the run in this format into a folder and returns where.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write) if the file cannot be written.
    pub fn write(self, analysis: &Analysis<'_>, folder: &Path) -> Result<PathBuf> {
        let stamp = &analysis.record().manifest.stamp;
        let name = match self {
            Self::VllmBench => format!("vllm_bench_{stamp}.json"),
            Self::Aiperf => format!("profile_export_aiperf_{stamp}.json"),
            Self::Endpoints => format!("result_summary_{stamp}.json"),
            Self::Mlflow => format!("mlflow_{stamp}.json"),
        };
        let path = folder.join(name);
        let mut text = serde_json::to_string_pretty(&self.of(analysis)).expect("a JSON value is always JSON");
        text.push('\n');
        crate::files::write(&path, text.as_bytes())?;
        Ok(path)
    }
}

/// The facts of a run without the servers' HELP texts, which are long and no setting.
fn recorded_facts(record: &RunData) -> BTreeMap<&str, &str> {
    let facts = record.manifest.facts.iter();
    facts
        .filter(|(key, _)| !HelpTexts::is_fact(key))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}
