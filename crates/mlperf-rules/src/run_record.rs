//! `sut_run.json`: what a run was and how it ended, for everything that is later made from runs.
//!
//! LoadGen's logs do not contain the benchmark, the scenario of the rules, or whether the server was real.
//! This file does, and is written next to them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::benchmark::RuleScenario;
use crate::compliance::ComplianceTest;
use crate::verdict::{Outcome, Verdict};

/// Name of the file in LoadGen's log folder.
pub const RUN_RECORD: &str = "sut_run.json";

/// The kind of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// Timed, no audit file.
    Performance,
    /// Every sample once, with answers logged.
    Accuracy,
    /// Timed, under an audit file.
    Compliance,
}

impl RunKind {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Performance => "performance",
            Self::Accuracy => "accuracy",
            Self::Compliance => "compliance",
        }
    }
}

/// One check of the verdict that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFinding {
    /// Name of the check.
    pub check: String,
    /// What was found.
    pub what: String,
}

/// What a run was and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Name and version of the program that made the run.
    pub program: String,
    /// LoadGen's name of the benchmark, without `-interactive`.
    pub benchmark: String,
    /// The scenario as the rules name it.
    pub scenario: RuleScenario,
    /// The kind of the run.
    pub kind: RunKind,
    /// The compliance test whose audit file was in effect.
    #[serde(default)]
    pub compliance: Option<ComplianceTest>,
    /// The server was a simulator.
    pub simulated: bool,
    /// The result in the closing table.
    pub result: String,
    /// Whether the result counts: no vital check failed.
    pub counts: bool,
    /// Checks that prevent an official result.
    pub findings: Vec<RecordedFinding>,
    /// The server's name of the model.
    pub model: String,
    /// The server's answer to `/version`.
    pub server_version: Option<String>,
    /// The server's address was on this machine, so the facts recorded about the machine are those of the
    /// server.
    pub server_on_this_host: bool,
    /// Where the prompts came from.
    pub dataset: String,
    /// Number of prompts.
    pub samples: usize,
    /// Longest answer, in tokens.
    pub max_tokens: u32,
    /// Prompts per request.
    pub batch_size: usize,
    /// Most requests in flight.
    pub concurrency: usize,
    /// The rate passed to LoadGen, per second.
    pub target_qps: f64,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It cannot be read.
    #[error("run record {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The underlying I/O error.
        source: std::io::Error,
    },
    /// It was not written by this program.
    #[error("run record {path}: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
}

impl RunRecord {
    /// The compliance test of the run.
    pub fn test(&self) -> Option<ComplianceTest> {
        self.compliance.filter(|_| self.kind == RunKind::Compliance)
    }

    /// Writes the record into LoadGen's log folder and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, log_dir: &Path) -> std::io::Result<PathBuf> {
        let path = log_dir.join(RUN_RECORD);
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        crate::files::write(&path, &(text + "\n"))?;
        Ok(path)
    }

    /// Reads the record from LoadGen's log folder.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn read(log_dir: &Path) -> Result<Self, RecordError> {
        let path = log_dir.join(RUN_RECORD);
        let text = std::fs::read(&path).map_err(|source| RecordError::Read {
            path: path.clone(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| RecordError::Format { path, source })
    }
}

/// The findings that prevent an official result, as recorded. A check that the logs cannot decide is
/// included.
pub fn findings(verdict: &Verdict) -> Vec<RecordedFinding> {
    let bad = verdict.bad().map(|finding| RecordedFinding {
        check: finding.check.name().to_owned(),
        what: match finding.outcome {
            Outcome::Unknown => format!("unknown: {}", finding.what),
            _ => finding.what.clone(),
        },
    });
    bad.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let record = RunRecord {
            program: "sut 0".into(),
            benchmark: "llama3_1-8b".into(),
            scenario: RuleScenario::Interactive,
            kind: RunKind::Compliance,
            compliance: Some(ComplianceTest::Test06),
            simulated: true,
            result: "VALID".into(),
            counts: true,
            findings: vec![RecordedFinding {
                check: "server".into(),
                what: "simulated".into(),
            }],
            model: "m".into(),
            server_version: None,
            server_on_this_host: true,
            dataset: "d.json".into(),
            samples: 3,
            max_tokens: 128,
            batch_size: 1,
            concurrency: 4,
            target_qps: 2.5,
        };
        record.write(dir.path()).unwrap();
        assert_eq!(RunRecord::read(dir.path()).unwrap(), record);
        std::fs::write(dir.path().join(RUN_RECORD), "{}").unwrap();
        assert!(
            RunRecord::read(dir.path())
                .unwrap_err()
                .to_string()
                .contains(RUN_RECORD)
        );
    }
}
