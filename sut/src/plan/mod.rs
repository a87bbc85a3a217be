//! The plan of a run, resolved once from the flags and the configuration file. It contains only domain types,
//! without defaults or names to look up. All problems are reported together.

mod alerts;
mod dataset_config;
mod file;
mod generation;
mod kind;
mod metrics;
mod overrides;
mod peak;
mod recording;
pub(crate) mod replicas;
mod sources;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use mlperf_loadgen::Mode;
use mlperf_rules::compliance::ComplianceTest;
use mlperf_rules::{BenchmarkSpec, RuleScenario};
use vllm_client::Strategy;

pub(crate) use self::alerts::Recording;
use self::dataset_config::Described;
pub(crate) use self::file::collect_args;
pub(crate) use self::generation::Generation;
pub(crate) use self::metrics::{DashboardPlan, METRICS_DIR, MetricsPlan};
pub(crate) use self::overrides::{InheritedServer, Kind, Overrides, Record, Trial};
pub(crate) use self::peak::PeakPlan;
pub(crate) use self::recording::RecordingPlan;
pub(crate) use self::sources::{DatasetPlan, ServerPlan};
pub(crate) use crate::cli::UiArg as Ui;
use crate::cli::{BalanceArg, LogLevel, ModeArg, RunArgs};
use crate::exit::Fail;

/// Lowest rate: one query in eleven days. LoadGen's times in nanoseconds overflow below it.
const LOWEST_QPS: f64 = 1e-6;
const RATE: &str = "must be a number, at least 0.000001";
/// Largest value of `--warmup`.
const MOST_WARM_UPS: usize = 10_000;
/// Largest value of `--num-samples`: more samples would not fit into memory.
const MOST_SAMPLES: usize = 10_000_000;
/// Default folder of LoadGen's logs.
pub(crate) const LOG_DIR: &str = "./mlperf_logs";
/// Default benchmark.
pub(crate) const BENCHMARK: &str = "llama3_1-8b";

/// The task of a command line without a subcommand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Task {
    /// One run, in this process.
    One(Plan),
    /// Show the plan and every check; send nothing.
    DryRun(Plan),
    /// A performance run (the plan), an accuracy run, and the plan's compliance test if it has one.
    Both(Plan),
    /// A search for the highest valid rate.
    Peak(Plan, PeakPlan),
    /// One run at each of these rates.
    Sweep(Plan, Vec<f64>),
}

/// The completely resolved plan of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) server: ServerPlan,
    /// How requests are distributed over several servers.
    pub(crate) balance: Strategy,
    /// How often a request that failed before its first token is sent again.
    pub(crate) retries: u32,
    /// The server's name of the model; `None`: the only model that it lists.
    pub(crate) model: Option<String>,
    /// Bearer token. Never printed.
    pub(crate) api_key: Option<String>,
    /// The source of the prompts.
    pub(crate) dataset: DatasetPlan,
    /// Number of samples that the dataset should have.
    pub(crate) dataset_samples: Option<usize>,
    /// Keys of the dataset's description that have no effect, one sentence each.
    pub(crate) dataset_notes: Vec<String>,
    /// Refuse a run that cannot be an official one.
    pub(crate) official: bool,
    /// Use only this many samples from the start of the dataset.
    pub(crate) num_samples: Option<usize>,
    /// Scenario, as the rules name it.
    pub(crate) scenario: RuleScenario,
    /// [`Mode::Performance`] or [`Mode::Accuracy`].
    pub(crate) mode: Mode,
    /// The benchmark.
    pub(crate) benchmark: BenchmarkSpec,
    /// How answers are generated.
    pub(crate) generation: Generation,
    /// Write the audit file of this test, apply it, and verify the result.
    pub(crate) compliance: Option<ComplianceTest>,
    /// The built-in simulator answers with the dataset's references.
    pub(crate) simulate_references: bool,
    /// user.conf.
    pub(crate) user_conf: Option<PathBuf>,
    /// Audit file to apply.
    pub(crate) audit_config: Option<PathBuf>,
    /// Arrivals per second, or expected samples per second; `None`: from user.conf or the benchmark.
    pub(crate) target_qps: Option<f64>,
    /// Shortest duration; `None`: from user.conf or the benchmark.
    pub(crate) duration: Option<Duration>,
    /// Prompts per HTTP request.
    pub(crate) batch_size: usize,
    /// Most requests in flight.
    pub(crate) concurrency: usize,
    /// Deadline of a whole request.
    pub(crate) request_timeout: Duration,
    /// Longest time without any answer before the run is ended.
    pub(crate) stall_timeout: Duration,
    /// Seed of the synthetic dataset and of the simulator.
    pub(crate) seed: u64,
    /// LoadGen's log folder.
    pub(crate) log_dir: PathBuf,
    /// What to record; `None` records nothing.
    pub(crate) metrics: Option<MetricsPlan>,
    /// Start and stop the server's profiler around the test.
    pub(crate) profiler: bool,
    /// How progress is shown; `None`: a bar on a terminal, otherwise lines.
    pub(crate) ui: Option<Ui>,
    /// Print batch times.
    pub(crate) print_timing: bool,
    /// Print length histograms.
    pub(crate) print_histogram: bool,
    /// Requests sent to each server before the test.
    pub(crate) warm_up: usize,
    /// Folder for the figures that a parent process compares.
    pub(crate) figures_dir: Option<PathBuf>,
}

/// The rates of a sweep; empty without one.
fn sweep(args: &mut RunArgs, wrong: &mut Vec<String>) -> Vec<f64> {
    let Some(rates) = args.sweep.take() else {
        return Vec::new();
    };
    if rates.is_empty() {
        wrong.push("--sweep: the list is empty".into());
    }
    for rate in rates.iter().filter(|rate| !is_rate(**rate)) {
        wrong.push(format!("--sweep {rate}: {RATE}"));
    }
    for (flag, given) in [
        ("--target-qps", args.target_qps.is_some()),
        ("--find-peak", args.find_peak),
        (
            "--test-mode",
            args.test_mode.is_some_and(|mode| mode != ModeArg::Performance),
        ),
        ("--compliance", args.compliance.is_some()),
        ("--audit-config", args.audit_config.is_some()),
    ] {
        if given {
            wrong.push(format!(
                "--sweep makes a performance run at each rate: leave {flag} out"
            ));
        }
    }
    rates
}

fn is_rate(qps: f64) -> bool {
    qps.is_finite() && qps >= LOWEST_QPS
}

/// An error that lists all problems under one heading.
pub(crate) fn refusal(heading: &str, wrong: &[String]) -> Fail {
    let mut message = format!("{heading}, because:");
    for problem in wrong {
        let _ = write!(message, "\n  - {}", words::without_credentials(problem));
    }
    Fail::usage(anyhow!(message))
}

impl Task {
    /// Merges the command line with its configuration file, applies a parent's overrides and resolves the
    /// result. Also returns the log level.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Usage`] with every problem found, one per line.
    pub(crate) fn resolve(args: RunArgs, overrides: Option<&Overrides>) -> Result<(Self, LogLevel), Fail> {
        let mut args = file::run_args(args).map_err(Fail::usage)?;
        if let Some(overrides) = overrides {
            overrides.apply(&mut args);
        }
        let level = args.log_level.unwrap_or(LogLevel::Info);
        let (both, dry_run) = (args.test_mode == Some(ModeArg::Both), args.dry_run);
        let mut wrong = Vec::new();
        let described = match args.dataset_config.clone() {
            None => Described::default(),
            Some(path) => dataset_config::apply(&path, &mut args).unwrap_or_else(|why| {
                wrong.push(format!("--dataset-config {why}"));
                Described::default()
            }),
        };
        let sweep = sweep(&mut args, &mut wrong);
        let resolved = Plan::from_args(args, overrides, &mut wrong);
        let (Some((mut plan, peak)), []) = (resolved, wrong.as_slice()) else {
            return Err(refusal("nothing was sent", &wrong));
        };
        plan.dataset_samples = described.samples;
        plan.dataset_notes = described.ignored;
        let task = match peak {
            _ if dry_run => Self::DryRun(plan),
            Some(peak) => Self::Peak(plan, peak),
            None if !sweep.is_empty() => Self::Sweep(plan, sweep),
            None if both => Self::Both(plan),
            None => Self::One(plan),
        };
        Ok((task, level))
    }
}

impl Plan {
    /// `None` if the problems leave no plan at all.
    fn from_args(
        args: RunArgs,
        overrides: Option<&Overrides>,
        wrong: &mut Vec<String>,
    ) -> Option<(Self, Option<PeakPlan>)> {
        let (benchmark, scenario) = kind::benchmark(&args, wrong);
        let mode = kind::mode(&args);
        let peak = peak::resolve(&args, scenario, wrong);
        let server = match overrides.and_then(|overrides| overrides.server.clone()) {
            Some(inherited) => ServerPlan::Inherited(inherited),
            None => sources::server(&args, wrong),
        };
        let dataset = sources::dataset(&args, wrong);
        for (flag, path) in [
            ("--user-conf", &args.user_conf),
            ("--audit-config", &args.audit_config),
        ] {
            if let Some(path) = path
                && !path.is_file()
            {
                wrong.push(format!("{flag}: there is no file {}", path.display()));
            }
        }
        let batch_size = args.batch_size.unwrap_or(1);
        if batch_size == 0 {
            wrong.push("--batch-size: must be at least 1".into());
        }
        if batch_size > 1 && scenario != RuleScenario::Offline {
            wrong.push(format!(
                "--batch-size {batch_size}: only the Offline scenario may put several prompts in one request"
            ));
        }
        if let Some(samples) = args.num_samples
            && !(1..=MOST_SAMPLES).contains(&samples)
        {
            wrong.push(format!(
                "--num-samples {samples}: must be from 1 to {MOST_SAMPLES}"
            ));
        }
        let concurrency = args.concurrency.unwrap_or(match scenario {
            RuleScenario::Offline => 512,
            _ => 4096,
        });
        if concurrency == 0 {
            wrong.push("--concurrency: must be at least 1".into());
        }
        if let Some(qps) = args.target_qps
            && !is_rate(qps)
        {
            wrong.push(format!("--target-qps {qps}: {RATE}"));
        }
        let warm_up = args.warmup.unwrap_or(0);
        if warm_up > MOST_WARM_UPS {
            wrong.push(format!("--warmup {warm_up}: must be at most {MOST_WARM_UPS}"));
        }
        if args.max_tokens == Some(0) {
            wrong.push("--max-tokens: must be at least 1".into());
        }
        let duration = words::duration("--duration", args.duration.as_ref(), wrong);
        let mut limit = |flag, given, default| {
            words::duration(flag, given, wrong).unwrap_or(Duration::from_secs(default))
        };
        let request_timeout = limit("--request-timeout", args.request_timeout.as_ref(), 1800);
        let stall_timeout = limit("--stall-timeout", args.stall_timeout.as_ref(), 300);
        let metrics = metrics::resolve(&args, wrong);
        let compliance = kind::compliance(&args, wrong);
        kind::references(&args, &server, wrong);
        let benchmark = benchmark?;
        let plan = Self {
            server,
            balance: args.balance.unwrap_or(BalanceArg::RoundRobin).into(),
            retries: args.retries.unwrap_or(0),
            model: args.model,
            api_key: args.api_key,
            dataset,
            dataset_samples: None,
            dataset_notes: Vec::new(),
            official: args.official,
            num_samples: args.num_samples,
            scenario,
            mode,
            generation: Generation::new(&benchmark, mode, args.max_tokens),
            benchmark,
            compliance,
            simulate_references: args.simulate_references,
            user_conf: args.user_conf,
            audit_config: args.audit_config,
            target_qps: args.target_qps,
            duration,
            batch_size,
            concurrency,
            request_timeout,
            stall_timeout,
            seed: args.seed.unwrap_or(1),
            log_dir: args.output_log_dir.unwrap_or_else(|| PathBuf::from(LOG_DIR)),
            metrics,
            profiler: args.enable_profiler,
            ui: args.ui,
            print_timing: args.print_timing,
            print_histogram: args.print_histogram,
            warm_up,
            figures_dir: overrides.and_then(|overrides| overrides.figures_dir.clone()),
        };
        Some((plan, peak))
    }

    /// Whether the server is our simulator, so that all results of the run are simulated.
    pub(crate) fn simulated(&self) -> bool {
        self.server == ServerPlan::Simulator
    }
}
