//! `sut_run.json`: what a run was and how it came out, for everything that is made of runs later.
//!
//! LoadGen's logs do not tell the benchmark, the rules' scenario, or whether the server was real; this file does, and
//! stands beside them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::benchmark::RuleScenario;
use crate::compliance::ComplianceTest;
use crate::verdict::{Outcome, Verdict};

/// Name of the file, in the folder of LoadGen's logs.
pub const RUN_RECORD: &str = "sut_run.json";

/// What kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// Timed, no audit file.
    Performance,
    /// Every sample once, answers logged.
    Accuracy,
    /// Timed, under an audit file.
    Compliance,
}

impl RunKind {
    /// In messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Performance => "performance",
            Self::Accuracy => "accuracy",
            Self::Compliance => "compliance",
        }
    }
}

/// One check of the verdict that was not passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFinding {
    /// Name of the check.
    pub check: String,
    /// What was found.
    pub what: String,
}

/// What a run was and how it came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Name and version of the program that made it.
    pub program: String,
    /// LoadGen's name of the benchmark, without `-interactive`.
    pub benchmark: String,
    /// The scenario as the rules name it.
    pub scenario: RuleScenario,
    /// What kind of run.
    pub kind: RunKind,
    /// The compliance test, where its audit file was in effect.
    #[serde(default)]
    pub compliance: Option<ComplianceTest>,
    /// The server was a simulator.
    pub simulated: bool,
    /// The closing table's word.
    pub result: String,
    /// The result counts: nothing vital failed.
    pub counts: bool,
    /// Checks that stand in the way of an official result.
    pub findings: Vec<RecordedFinding>,
    /// Name that the server knows the model by.
    pub model: String,
    /// What `/version` said.
    pub server_version: Option<String>,
    /// The server's address was of this machine, so what is recorded of the machine is recorded of the server's.
    pub server_on_this_host: bool,
    /// Where the prompts came from.
    pub dataset: String,
    /// How many there were.
    pub samples: usize,
    /// Longest answer, in tokens.
    pub max_tokens: u32,
    /// Prompts a request.
    pub batch_size: usize,
    /// Requests in flight at most.
    pub concurrency: usize,
    /// The rate that LoadGen was told, per second.
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
    /// It is not this program's.
    #[error("run record {path}: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl RunRecord {
    /// The compliance test that it was a run of.
    pub fn test(&self) -> Option<ComplianceTest> {
        self.compliance.filter(|_| self.kind == RunKind::Compliance)
    }

    /// Writes it into the folder of LoadGen's logs and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, log_dir: &Path) -> std::io::Result<PathBuf> {
        let path = log_dir.join(RUN_RECORD);
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        crate::files::write(&path, &(text + "\n"))?;
        Ok(path)
    }

    /// Reads it from the folder of LoadGen's logs.
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

/// What stands in the way, as recorded. A check that the logs do not tell is among them.
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
