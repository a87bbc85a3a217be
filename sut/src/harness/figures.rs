//! The figures of a run that a parent process compares.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::request_log::LatencyStats;

/// Name of the file with a run's figures.
const FIGURES: &str = "figures.json";

/// The figures that a run of the overhead check writes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Output tokens per second, as LoadGen defines it.
    pub(crate) tokens_per_sec: Option<f64>,
    /// Queries answered.
    pub(crate) completed: u64,
    /// Queries that failed.
    pub(crate) failed: u64,
    /// Length of the timed part.
    pub(crate) duration_secs: f64,
    /// The server was a simulator.
    pub(crate) simulated: bool,
}

impl Figures {
    /// The figures of a run that has ended.
    pub(crate) fn new(measured: &LatencyStats, failed: u64, simulated: bool) -> Self {
        Self {
            tokens_per_sec: measured.tokens_per_sec,
            completed: measured.completed,
            failed,
            duration_secs: measured.duration_secs,
            simulated,
        }
    }

    /// Writes the figures into the run's folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(FIGURES);
        let text = serde_json::to_string(self)?;
        mlperf_rules::files::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FIGURES);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}
