//! Overrides that a parent process applies to the flags of a run that it starts.
//!
//! LoadGen runs one test per process, so several tests are several processes of this program. A child gets
//! the parent's command line and, in an environment variable, these overrides, which win over command line
//! and file. They never contain a secret.

use std::path::PathBuf;

use anyhow::Context;
use mlperf_rules::RuleScenario;
use mlperf_rules::compliance::ComplianceTest;
use serde::{Deserialize, Serialize};

use crate::cli::{ComplianceArg, MetricsArgs, ModeArg, RecordingArgs, RunArgs, ScenarioArg, TimeText};
use crate::exit::Fail;

/// A server that the parent has started and will stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InheritedServer {
    /// Its process, if it is one.
    pub(crate) pid: Option<i32>,
    /// Base URLs without a trailing slash.
    pub(crate) urls: Vec<String>,
    /// The name under which it serves the model.
    pub(crate) model: String,
}

/// The overrides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Overrides {
    /// LoadGen's log folder.
    pub(crate) log_dir: PathBuf,
    /// The mode and the compliance test.
    pub(crate) kind: Option<Kind>,
    /// The server of the run.
    pub(crate) server: Option<InheritedServer>,
    /// Scenario, rate and length of a search trial.
    pub(crate) trial: Option<Trial>,
    /// Rate of a run of a sweep.
    pub(crate) target_qps: Option<f64>,
    /// Whether and where to record; `None`: as the flags say.
    pub(crate) record: Option<Record>,
    /// Folder for the figures that the parent compares.
    pub(crate) figures_dir: Option<PathBuf>,
}

/// Which run of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Performance,
    Accuracy,
    Compliance(ComplianceTest),
}

/// A trial of a search for the highest valid rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) interactive: bool,
    pub(crate) target_qps: f64,
    pub(crate) millis: u64,
    pub(crate) num_samples: Option<usize>,
}

/// Whether to record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// Record nothing.
    Nothing,
    /// Record into this folder, if the flags request a record.
    Into(PathBuf),
    /// Record into this folder, without plots.
    WithoutPictures(PathBuf),
}

impl Overrides {
    /// The environment variable.
    pub(crate) const VARIABLE: &'static str = "SUT_CHILD_RUN";

    /// The parent's overrides, if this process is a child.
    ///
    /// # Errors
    /// When the variable has an invalid value.
    pub(crate) fn from_environment() -> Result<Option<Self>, Fail> {
        let Some(text) = std::env::var_os(Self::VARIABLE) else {
            return Ok(None);
        };
        serde_json::from_str(&text.to_string_lossy())
            .with_context(|| format!("{} is set for the children of this program only", Self::VARIABLE))
            .map(Some)
            .map_err(Fail::usage)
    }

    /// Applies the overrides to the flags. A child runs one test, even if its parent runs several.
    pub(crate) fn apply(&self, args: &mut RunArgs) {
        args.overhead_check = None;
        args.dry_run = false;
        args.sweep = None;
        args.target_qps = self.target_qps.or(args.target_qps);
        args.output_log_dir = Some(self.log_dir.clone());
        if args.test_mode == Some(ModeArg::Both) {
            args.test_mode = None;
        }
        match self.kind {
            None => {}
            Some(Kind::Performance) => {
                args.test_mode = Some(ModeArg::Performance);
                args.compliance = None;
            }
            Some(Kind::Accuracy) => {
                args.test_mode = Some(ModeArg::Accuracy);
                args.compliance = None;
            }
            Some(Kind::Compliance(test)) => {
                args.test_mode = Some(ModeArg::Performance);
                args.compliance = Some(match test {
                    ComplianceTest::Test06 => ComplianceArg::Test06,
                    ComplianceTest::Test07 => ComplianceArg::Test07,
                    ComplianceTest::Test09 => ComplianceArg::Test09,
                });
            }
        }
        if let Some(trial) = &self.trial {
            args.find_peak = false;
            args.peak_trial = None;
            args.peak_precision = None;
            args.official = false;
            args.scenario = Some(if trial.interactive {
                ScenarioArg::Interactive
            } else {
                ScenarioArg::Server
            });
            args.target_qps = Some(trial.target_qps);
            args.duration = Some(TimeText(format!("{}ms", trial.millis)));
            args.num_samples = trial.num_samples.or(args.num_samples);
        }
        match &self.record {
            None => {}
            Some(Record::Nothing) => {
                args.metrics = MetricsArgs::default();
                args.recording = RecordingArgs::default();
            }
            Some(Record::Into(folder)) if args.records() => {
                args.metrics.metrics_output_dir = Some(folder.clone());
            }
            Some(Record::Into(_)) => {}
            Some(Record::WithoutPictures(folder)) => {
                args.metrics.enable_metrics_collection = true;
                args.metrics.metrics_output_dir = Some(folder.clone());
                args.metrics.no_plots = true;
            }
        }
    }
}

impl Trial {
    /// Whether peak search supports a scenario.
    pub(crate) fn is_searched(scenario: RuleScenario) -> bool {
        matches!(scenario, RuleScenario::Server | RuleScenario::Interactive)
    }
}
