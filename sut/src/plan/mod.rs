//! The resolved run: what `cli::RunArgs` and the configuration file become once, with no options left that have a
//! default, every cross-check done, and all that is wrong said at once.

pub(crate) mod file;
mod kind;
mod metrics;
mod peak;
mod sources;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;

pub use self::metrics::MetricsPlan;
pub(crate) use self::metrics::record_nothing;
pub use self::sources::{DatasetPlan, HandedServer, ServerPlan};
use crate::cli::{BalanceArg, LogLevel, ModeArg, RunArgs, ScenarioArg};
use crate::exit::Fail;
use crate::overhead;
use crate::peak::PeakPlan;
use mlperf_rules::compliance::ComplianceTest;

/// Lowest rate: a query in eleven days. Below, LoadGen's times in nanoseconds come to their end.
const LOWEST_QPS: f64 = 1e-6;

/// A run with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where the server is.
    pub server: ServerPlan,
    /// How requests are spread over several servers.
    pub balance: BalanceArg,
    /// How often a request is sent again that failed before its first token.
    pub retries: u32,
    /// Name the server knows the model by; `None`: the only model it lists.
    pub model: Option<String>,
    /// Bearer token. Never printed.
    pub api_key: Option<String>,
    /// Where the prompts come from.
    pub dataset: DatasetPlan,
    /// Refuse a run that cannot be an official one.
    pub official: bool,
    /// Search the highest valid rate instead of one run.
    pub peak: Option<PeakPlan>,
    /// Cut the dataset to its first so many samples.
    pub num_samples: Option<usize>,
    /// Scenario.
    pub scenario: ScenarioArg,
    /// Mode.
    pub mode: ModeArg,
    /// Benchmark name in mlperf.conf, without `-interactive`.
    pub benchmark: String,
    /// Write the audit file of this test, put it in effect and verify what came of it.
    pub compliance: Option<ComplianceTest>,
    /// The built-in simulator answers with the dataset's references.
    pub simulate_references: bool,
    /// user.conf.
    pub user_conf: Option<PathBuf>,
    /// Audit file to put in effect.
    pub audit_config: Option<PathBuf>,
    /// Arrivals per second, or expected samples per second.
    pub target_qps: Option<f64>,
    /// Shortest duration.
    pub duration: Option<Duration>,
    /// Prompts per HTTP request.
    pub batch_size: usize,
    /// Requests in flight at most.
    pub concurrency: usize,
    /// Longest output; `None`: the benchmark's.
    pub max_tokens: Option<u32>,
    /// Whole-request deadline.
    pub request_timeout: Duration,
    /// Longest time without any answer before the run is ended.
    pub stall_timeout: Duration,
    /// Seed.
    pub seed: u64,
    /// LoadGen's log folder.
    pub log_dir: PathBuf,
    /// What to record; `None`: nothing.
    pub metrics: Option<MetricsPlan>,
    /// Start and stop the server's profiler around the test.
    pub profiler: bool,
    /// Print batch times.
    pub print_timing: bool,
    /// Print length histograms.
    pub print_histogram: bool,
    /// Amount of logging.
    pub log_level: LogLevel,
    /// Stop before load is sent.
    pub dry_run: bool,
    /// Where a run of the overhead check leaves its figures.
    pub figures_dir: Option<PathBuf>,
}

impl Plan {
    /// Merges the command line with its configuration file and resolves both.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Usage`] with every problem found, one a line.
    pub fn resolve(args: RunArgs) -> Result<Self, Fail> {
        let mut args = Self::merged(args)?;
        let figures_dir = overhead::apply(&mut args);
        let mut wrong = Vec::new();
        let plan = Self::from_args(args, &mut wrong);
        if wrong.is_empty() {
            return Ok(Self { figures_dir, ..plan });
        }
        let mut message = String::from("nothing was sent, because:");
        for problem in wrong {
            let _ = write!(message, "\n  - {problem}");
        }
        Err(Fail::usage(anyhow!(message)))
    }

    /// The command line with its configuration file behind it, not resolved.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Usage`] for a file that cannot be read.
    pub fn merged(args: RunArgs) -> Result<RunArgs, Fail> {
        match &args.config {
            None => Ok(args),
            Some(path) => {
                let (mut from_file, recording) = file::read::<RunArgs>(path).map_err(Fail::usage)?;
                from_file.recording = recording;
                Ok(file::merge(args, from_file))
            }
        }
    }

    fn from_args(args: RunArgs, wrong: &mut Vec<String>) -> Self {
        let (benchmark, scenario) = kind::benchmark(&args, wrong);
        let peak = peak::resolve(&args, scenario, wrong);
        let server = sources::server(&args, wrong);
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
        if batch_size > 1 && scenario != ScenarioArg::Offline {
            wrong.push(format!(
                "--batch-size {batch_size}: only the Offline scenario may put several prompts in one request"
            ));
        }
        if args.num_samples == Some(0) {
            wrong.push("--num-samples: must be at least 1".into());
        }
        let concurrency = args.concurrency.unwrap_or(match scenario {
            ScenarioArg::Offline => 512,
            _ => 4096,
        });
        if concurrency == 0 {
            wrong.push("--concurrency: must be at least 1".into());
        }
        if let Some(qps) = args.target_qps
            && !(qps.is_finite() && qps >= LOWEST_QPS)
        {
            wrong.push(format!(
                "--target-qps {qps}: must be a number, at least {LOWEST_QPS}"
            ));
        }
        if args.max_tokens == Some(0) {
            wrong.push("--max-tokens: must be at least 1".into());
        }
        let duration = words::duration("--duration", args.duration.as_deref(), wrong);
        let request_timeout = words::seconds("--request-timeout", args.request_timeout, 1800.0, wrong);
        let stall_timeout = words::seconds("--stall-timeout", args.stall_timeout, 300.0, wrong);
        let metrics = metrics::resolve(&args, wrong);
        let compliance = kind::compliance(&args, wrong);
        kind::references(&args, &server, wrong);
        Self {
            server,
            balance: args.balance.unwrap_or(BalanceArg::RoundRobin),
            retries: args.retries.unwrap_or(0),
            model: args.model.clone(),
            api_key: args.api_key,
            dataset,
            official: args.official,
            peak,
            num_samples: args.num_samples,
            scenario,
            mode: args.test_mode.unwrap_or(ModeArg::Performance),
            benchmark,
            compliance,
            simulate_references: args.simulate_references,
            user_conf: args.user_conf,
            audit_config: args.audit_config,
            target_qps: args.target_qps,
            duration,
            batch_size,
            concurrency,
            max_tokens: args.max_tokens,
            request_timeout,
            stall_timeout,
            seed: args.seed.unwrap_or(1),
            log_dir: args
                .output_log_dir
                .unwrap_or_else(|| PathBuf::from("./mlperf_logs")),
            metrics,
            profiler: args.enable_profiler,
            print_timing: args.print_timing,
            print_histogram: args.print_histogram,
            log_level: args.log_level.unwrap_or(LogLevel::Info),
            dry_run: args.dry_run,
            figures_dir: None,
        }
    }

    /// The plan as text for a person, without the key and without the credentials of any URL.
    pub fn shown(&self) -> String {
        let api_key = self.api_key.as_ref().map(|_| "(redacted)".to_owned());
        words::without_credentials(&format!(
            "{:#?}",
            Self {
                api_key,
                ..self.clone()
            }
        ))
    }

    /// True when the server is our simulator, and so everything that comes out of the run is simulated.
    pub fn simulated(&self) -> bool {
        self.server == ServerPlan::Simulator
    }
}
