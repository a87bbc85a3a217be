//! The command line as written: every value is optional, and nothing is checked against other flags.
//!
//! A configuration file (`--config run.toml`) fills the same struct with the same keys; [`crate::plan`]
//! merges the two and resolves them once. Flag names that users know from other tools are aliases.

mod merge;
mod recording;
mod run;
mod spec;
mod tools;
mod values;

use std::sync::LazyLock;

use clap::{Parser, Subcommand};

pub(crate) use merge::Merge;
pub(crate) use recording::RecordingArgs;
pub(crate) use run::{MetricsArgs, RunArgs};
#[cfg(test)]
pub(crate) use spec::EndpointSpec;
pub(crate) use spec::{Receiver, ReceiverSpec};
pub(crate) use tools::{
    AlertsAction, AlertsArgs, CollectArgs, CompareArgs, CompletionsArgs, ConvertArgs, DivisionArg,
    DoctorArgs, ExportArg, PlotArgs, ProcessArgs, ReportArgs, ScoreArgs, ShellArg, SimCommand,
    SubmissionArgs, ThemeArg, WatchArgs,
};
pub(crate) use values::{
    BalanceArg, ComplianceArg, FormatArg, LogLevel, ModeArg, ScenarioArg, TimeText, UiArg,
};

/// MLPerf Inference System Under Test for vLLM: real LoadGen, real server, and a record of what happened.
#[derive(Debug, Parser)]
#[command(
    name = "sut",
    version = version(),
    long_version = long_version(),
    about,
    args_conflicts_with_subcommands = true,
    max_term_width = 110
)]
pub struct Cli {
    /// The subcommand; without one, a test is run.
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
    /// Show a record on the terminal, while it grows or when it is complete, or a server.
    Watch(WatchArgs),
    /// Regenerate the report, the plots and the summary of a stored run, including an interrupted one.
    Report(ReportArgs),
    /// Draw metrics of stored runs by name, as PNG or SVG.
    Plot(PlotArgs),
    /// Compare stored runs: improved, regressed, no difference, inconclusive or not comparable.
    Compare(CompareArgs),
    /// Check alert rules, export them for Prometheus, or evaluate them over a stored run.
    Alerts(AlertsArgs),
    /// Convert a stored run to another format. The input is not modified.
    Convert(ConvertArgs),
    /// Write the derived series of a stored run, including one that was killed. The input is not modified.
    Process(ProcessArgs),
    /// Find out why there are no metrics by checking a server step by step.
    Doctor(DoctorArgs),
    /// Score the answers of an accuracy run again.
    Score(ScoreArgs),
    /// Lay out a submission from runs, in the form that MLCommons' submission checker expects.
    Submission(SubmissionArgs),
    /// Write shell completions to standard output, for example: sut completions bash > sut.bash
    Completions(CompletionsArgs),
}

/// `0.1.0`.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Version with the commit, LoadGen's version, its round and the features of the build.
fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(version_text);
    &TEXT
}

fn version_text() -> String {
    let features: Vec<&str> = [
        ("tls", cfg!(feature = "tls")),
        ("upload", cfg!(feature = "upload")),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect();
    format!(
        "{}\ncommit: {}\nLoadGen {}, round {}\nfeatures: {}",
        version(),
        match (env!("SUT_COMMIT"), cfg!(debug_assertions)) {
            ("", true) => "not recorded in a build for development",
            ("", false) => "unknown, built without git",
            (commit, _) => commit,
        },
        mlperf_loadgen::loadgen_version(),
        mlperf_rules::verdict::ROUND,
        if features.is_empty() {
            "none".to_owned()
        } else {
            features.join(", ")
        }
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// Flags of `vllm serve` 0.32 that a diagnosis advises, and one of nvidia-smi; `scripts/check-exports` asks a vLLM.
    const OTHERS: [&str; 19] = [
        "api-server-count",
        "decode-context-parallel-size",
        "enable-prefix-caching",
        "enforce-eager",
        "gpu-memory-utilization",
        "kv-cache-dtype",
        "kv-transfer-config",
        "max-loras",
        "max-model-len",
        "max-num-batched-tokens",
        "max-num-seqs",
        "no-async-scheduling",
        "numa-bind",
        "power-limit",
        "quantization",
        "speculative-config",
        "stream-interval",
        "structured-outputs-config",
        "tensor-parallel-size",
    ];

    #[test]
    fn what_a_diagnosis_advises_can_be_set() {
        let rules = include_str!("../../../crates/run-diagnosis/src/bound/rules.toml");
        let command = Cli::command();
        let own: Vec<&str> = command
            .get_arguments()
            .filter_map(|flag| flag.get_long())
            .collect();
        let advised = rules
            .lines()
            .filter(|line| line.starts_with("change = "))
            .flat_map(|line| line.split("--").skip(1))
            .map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-');
                &rest[..end.unwrap_or(rest.len())]
            });
        let unknown: Vec<&str> = advised
            .filter(|flag| !own.contains(flag) && !OTHERS.contains(flag))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
