//! One run of the check, seen from inside: which flags it runs under, and the figures it leaves.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cli::RunArgs;
use crate::ledger::Measured;
use crate::plan;

/// With or without collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arm {
    /// Metrics are recorded.
    On,
    /// They are not.
    Off,
}

impl Arm {
    /// The word on the command line, and in the folder's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// Name of the file with a run's figures.
const FIGURES: &str = "figures.json";

/// What a run of the check leaves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Output tokens per second, as LoadGen defines it.
    pub tokens_per_sec: Option<f64>,
    /// Queries answered.
    pub completed: u64,
    /// Queries that failed.
    pub failed: u64,
    /// Length of the timed part.
    pub duration_secs: f64,
    /// The server was a simulator.
    pub simulated: bool,
}

impl Figures {
    /// Of a run that has ended.
    pub fn new(measured: &Measured, failed: u64, simulated: bool) -> Self {
        Self {
            tokens_per_sec: measured.tokens_per_sec,
            completed: measured.completed,
            failed,
            duration_secs: measured.duration_secs,
            simulated,
        }
    }

    /// Writes them into the run's folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(FIGURES);
        let text = serde_json::to_string(self)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FIGURES);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// Turns the flags of the whole check into those of one run; nothing happens outside of one. Returns its folder.
pub(crate) fn apply(args: &mut RunArgs) -> Option<PathBuf> {
    let (arm, folder) = args.overhead_arm.zip(args.overhead_dir.clone())?;
    args.output_log_dir = Some(folder.join("mlperf_logs"));
    match arm {
        Arm::On => {
            args.enable_metrics_collection = true;
            args.metrics_output_dir = Some(folder.join("metrics_output"));
            // Drawn after the timed part, so it would only make the check longer.
            args.no_plots = true;
        }
        Arm::Off => plan::record_nothing(args),
    }
    Some(folder)
}
