//! The command line as written: every value optional, nothing checked against anything else.
//!
//! A configuration file (`--config run.toml`) fills the same struct with the same keys; [`crate::plan`] merges the
//! two and resolves them once. Spellings that users know from other tools are aliases.

mod merge;
mod recording;
mod run;
mod spec;
mod tools;
mod values;

use clap::{Parser, Subcommand};

pub(crate) use merge::Merge;
pub(crate) use recording::RecordingArgs;
pub(crate) use run::{MetricsArgs, RunArgs};
#[cfg(test)]
pub(crate) use spec::EndpointSpec;
pub(crate) use spec::{Receiver, ReceiverSpec};
pub(crate) use tools::{
    CollectArgs, ConvertArgs, DivisionArg, ReportArgs, ScoreArgs, SimCommand, SubmissionArgs,
};
pub(crate) use values::{BalanceArg, ComplianceArg, FormatArg, LogLevel, ModeArg, ScenarioArg, TimeText};

/// MLPerf Inference System Under Test for vLLM: real LoadGen, real server, and a record of what happened.
#[derive(Debug, Parser)]
#[command(
    name = "sut",
    version,
    about,
    args_conflicts_with_subcommands = true,
    max_term_width = 110
)]
pub struct Cli {
    /// What to do; without one, run a test.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The test to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the built-in simulator until interrupted.
    Sim(SimCommand),
    /// Record a server's metrics without sending load, until interrupted or for --duration.
    Collect(Box<CollectArgs>),
    /// Draw the pictures and the summary of a stored run again.
    Report(ReportArgs),
    /// Write a stored run once more in another format. The input is never touched.
    Convert(ConvertArgs),
    /// Score the answers of an accuracy run once more.
    Score(ScoreArgs),
    /// Lay out a submission from runs, as MLCommons' submission checker wants it.
    Submission(SubmissionArgs),
}
