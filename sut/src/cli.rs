//! The command line as written: every value optional, nothing checked against anything else.
//!
//! A configuration file (`--config run.toml`) fills the same struct with the same keys; [`crate::plan`] merges the
//! two and resolves them once. Spellings that users know from other tools are aliases.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::overhead::Arm;
use crate::recording::RecordingArgs;

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

/// LoadGen's scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[value(rename_all = "PascalCase")]
pub enum ScenarioArg {
    /// All samples at once; tokens per second count.
    #[value(alias = "offline")]
    Offline,
    /// Poisson arrivals at --target-qps; time to first token and time per output token have limits.
    #[value(alias = "server")]
    Server,
    /// Server under the benchmark's tighter limits.
    #[value(alias = "interactive")]
    Interactive,
    /// One query at a time.
    #[value(alias = "singlestream", alias = "single-stream")]
    SingleStream,
    /// Eight samples a query, one query at a time.
    #[value(alias = "multistream", alias = "multi-stream")]
    MultiStream,
}

/// LoadGen's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeArg {
    /// Timed run.
    Performance,
    /// Every sample of the dataset once, with the answers logged and scored.
    Accuracy,
    /// Performance, then accuracy (then --compliance, where given), each in a process of its own, with logs in
    /// performance/run_1, accuracy and TEST06 under --output-log-dir.
    Both,
}

/// A compliance test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
pub enum ComplianceArg {
    /// None (default).
    #[value(name = "none")]
    #[serde(rename = "none")]
    None,
    /// Token ids of a timed run: first tokens, ends and lengths must be consistent.
    #[value(name = "TEST06", alias = "test06")]
    #[serde(rename = "TEST06")]
    Test06,
    /// Exact match of a timed run over a set of its own (gpt-oss-120b).
    #[value(name = "TEST07", alias = "test07")]
    #[serde(rename = "TEST07")]
    Test07,
    /// Mean length of a timed run's answers (gpt-oss-120b).
    #[value(name = "TEST09", alias = "test09")]
    #[serde(rename = "TEST09")]
    Test09,
}

/// Amount of console logging, in the words that Python harnesses use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[value(rename_all = "UPPER")]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// Everything.
    #[value(alias = "debug")]
    Debug,
    /// What a user wants to know (default).
    #[value(alias = "info")]
    Info,
    /// Only what is wrong.
    #[value(alias = "warning")]
    Warning,
    /// Only errors.
    #[value(alias = "error")]
    Error,
    /// The same as ERROR; kept for the spelling.
    #[value(alias = "critical")]
    Critical,
}

/// File format of the raw metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FormatArg {
    /// Columnar and smallest (default).
    Parquet,
    /// One array of objects.
    Json,
    /// One row per sample.
    Csv,
    /// A table that can be queried while the run goes on.
    Sqlite,
    /// Prometheus text with timestamps.
    Prom,
}

/// How a server is chosen for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalanceArg {
    /// Each in turn (default).
    RoundRobin,
    /// The one with the fewest prompt and output tokens underway.
    LeastTokens,
    /// The one with the fewest requests underway.
    ShortestQueue,
}

/// A key of the configuration file that takes one text or a list of them.
fn one_or_many<'de, D: serde::Deserializer<'de>>(file: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Given>::deserialize(file)? {
        None => None,
        Some(Given::One(one)) => Some(vec![one]),
        Some(Given::Many(many)) => Some(many),
    })
}

/// By this variable and not by the flag, which a run's records would show as if a person had given it.
pub const HANDED_SERVER: &str = "SUT_HANDED_SERVER";

/// Flags of a test run. Every flag is also a key of the configuration file.
#[derive(Debug, Clone, Default, Args, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunArgs {
    /// Read flags from this TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Attach to a running server, for example http://127.0.0.1:8000. Repeat it, or separate by commas, for several
    /// replicas of one model.
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        visible_aliases = ["base-url", "endpoints", "target", "api-server-url", "api-server-urls"],
        help_heading = "Server"
    )]
    #[serde(deserialize_with = "one_or_many")]
    pub url: Option<Vec<String>>,
    /// How requests are spread over several servers.
    #[arg(long, value_enum, help_heading = "Server")]
    pub balance: Option<BalanceArg>,
    /// Send a request again up to so many times when it failed before its first token (connection refused or reset,
    /// overload); each retry is recorded and counted, and its time counts. Default 0.
    #[arg(long, value_name = "N", help_heading = "Server")]
    pub retries: Option<u32>,
    /// Model name as the server knows it. Without --url, `vllm serve MODEL` is started; without both, the built-in
    /// simulator is used.
    #[arg(long, help_heading = "Server")]
    pub model: Option<String>,
    /// Command that starts the server, without the model: the model and the server arguments are appended.
    #[arg(long, value_name = "COMMAND", help_heading = "Server")]
    pub serve_command: Option<String>,
    /// Arguments passed to the server that is started, for example "--max-num-seqs 512".
    #[arg(
        long,
        value_name = "ARGS",
        allow_hyphen_values = true,
        help_heading = "Server"
    )]
    pub server_args: Option<String>,
    /// Start the server that this YAML file describes: model, command, environment, and any argument of the server.
    /// --model, --serve-command and --startup-timeout win over the file; --server-args come after its arguments.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub server_config: Option<PathBuf>,
    /// Longest wait for a started server to become ready, in seconds.
    #[arg(long, value_name = "SECONDS", help_heading = "Server")]
    pub startup_timeout: Option<f64>,
    /// A server that the parent of runs in turn has started: pid@url=model. Wins over everything that starts one.
    #[arg(long, hide = true, env = HANDED_SERVER)]
    #[serde(skip)]
    pub handed_server: Option<String>,
    /// Bearer token for the server. Never stored.
    #[arg(long, env = "VLLM_API_KEY", hide_env_values = true, help_heading = "Server")]
    pub api_key: Option<String>,
    /// Use the server's /start_profile and /stop_profile around the test.
    #[arg(long, help_heading = "Server")]
    pub enable_profiler: bool,

    /// Dataset of token ids: .json, .jsonl, .csv, .parquet or .pkl. Without one, synthetic prompts are made.
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    pub dataset_path: Option<PathBuf>,
    /// Dataset of accuracy runs, where the benchmark has another one for them (gpt-oss-120b).
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    pub accuracy_dataset_path: Option<PathBuf>,
    /// Column of the prompt text.
    #[arg(long, help_heading = "Load")]
    pub input_column: Option<String>,
    /// Column of the prompt's token ids.
    #[arg(long, help_heading = "Load")]
    pub input_ids_column: Option<String>,
    /// Column of the reference output.
    #[arg(long, help_heading = "Load")]
    pub output_column: Option<String>,
    /// Let the built-in simulator answer with the dataset's reference token ids, so that accuracy means something.
    #[arg(long, help_heading = "Load")]
    pub simulate_references: bool,
    /// Scenario.
    #[arg(long, ignore_case = true, help_heading = "Load")]
    pub scenario: Option<ScenarioArg>,
    /// Mode.
    #[arg(long, ignore_case = true, help_heading = "Load")]
    pub test_mode: Option<ModeArg>,
    /// Prompts per HTTP request (Offline only).
    #[arg(long, help_heading = "Load")]
    pub batch_size: Option<usize>,
    /// Refuse, before any load is sent, a run that could not be submitted to the closed division: settings that are
    /// not the rules', a short dataset, a simulator, prefix caching.
    #[arg(long, help_heading = "Load")]
    pub official: bool,
    /// Search the highest Server rate that is valid, beginning at --target-qps: short trials, then a run of full length.
    #[arg(long, help_heading = "Load")]
    pub find_peak: bool,
    /// Shortest duration of a short trial of --find-peak. Default 60s.
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub peak_trial: Option<String>,
    /// How closely --find-peak closes in, as a fraction of the rate. Default 0.02.
    #[arg(long, value_name = "FRACTION", help_heading = "Load")]
    pub peak_precision: Option<f64>,
    /// Samples of the dataset to use.
    #[arg(long, visible_aliases = ["num-prompts", "request-count"], help_heading = "Load")]
    pub num_samples: Option<usize>,
    /// Requests in flight at most.
    #[arg(long, visible_aliases = ["max-concurrency", "offline-async-concurrency"], help_heading = "Load")]
    pub concurrency: Option<usize>,
    /// Arrivals per second (Server), or expected samples per second (Offline).
    #[arg(long, visible_aliases = ["request-rate", "server-target-qps"], value_name = "QPS", help_heading = "Load")]
    pub target_qps: Option<f64>,
    /// Shortest duration of the run: seconds, or with a suffix (30s, 10m). Overrides user.conf.
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub duration: Option<String>,
    /// Longest output in tokens. Default: the benchmark's.
    #[arg(long, help_heading = "Load")]
    pub max_tokens: Option<u32>,
    /// Whole-request deadline in seconds; a request that takes longer has failed.
    #[arg(long, value_name = "SECONDS", help_heading = "Load")]
    pub request_timeout: Option<f64>,
    /// Longest wait, in seconds, without any answer from the server before the run is ended as cut.
    #[arg(long, value_name = "SECONDS", help_heading = "Load")]
    pub stall_timeout: Option<f64>,
    /// Seed of the synthetic dataset and of the simulator.
    #[arg(long, help_heading = "Load")]
    pub seed: Option<u64>,

    /// LoadGen's user.conf.
    #[arg(long, value_name = "FILE", help_heading = "LoadGen")]
    pub user_conf: Option<PathBuf>,
    /// Benchmark name as in LoadGen's mlperf.conf.
    #[arg(long, help_heading = "LoadGen")]
    pub lg_model_name: Option<String>,
    /// Folder for LoadGen's logs.
    #[arg(long, value_name = "DIR", help_heading = "LoadGen")]
    pub output_log_dir: Option<PathBuf>,
    /// Compliance audit.config to put in effect. Without it none is, whatever lies in the working folder.
    #[arg(
        long,
        value_name = "FILE",
        visible_alias = "audit-conf",
        help_heading = "LoadGen"
    )]
    pub audit_config: Option<PathBuf>,
    /// Run a compliance test: its audit.config is written and put in effect, and what LoadGen logged is verified.
    #[arg(long, ignore_case = true, help_heading = "LoadGen")]
    pub compliance: Option<ComplianceArg>,

    /// Record server, GPU, host and harness metrics, and draw them at the end.
    #[arg(long, visible_alias = "enable-metrics", help_heading = "Metrics")]
    pub enable_metrics_collection: bool,
    /// Folder for metrics and pictures.
    #[arg(long, value_name = "DIR", help_heading = "Metrics")]
    pub metrics_output_dir: Option<PathBuf>,
    /// Seconds between scrapes; fractions allowed.
    #[arg(long, value_name = "SECONDS", visible_aliases = ["metrics-interval", "scrape-interval"], help_heading = "Metrics")]
    pub metrics_collection_interval: Option<f64>,
    /// File format of the raw metrics.
    #[arg(long, value_enum, help_heading = "Metrics")]
    pub metrics_format: Option<FormatArg>,
    /// Metrics endpoint, when it is not URL/metrics.
    #[arg(
        long,
        value_name = "URL",
        visible_alias = "server-metrics",
        help_heading = "Metrics"
    )]
    pub metrics_url: Option<String>,
    /// Upload the record and its pictures when the run has ended: s3://bucket/prefix, credentials from AWS_ACCESS_KEY_ID
    /// and its kin, or file:///folder. Needs a build with the feature `upload`.
    #[arg(long, value_name = "URL", help_heading = "Metrics")]
    pub metrics_upload: Option<String>,
    /// Do not sample GPUs.
    #[arg(long, help_heading = "Metrics")]
    pub no_gpu_telemetry: bool,
    /// GPUs to sample, by NVML index: 0,1,2. Default: those that the server's processes compute on; all of this
    /// machine where those cannot be told, and none when the server is elsewhere.
    #[arg(long, value_name = "INDICES", value_delimiter = ',', help_heading = "Metrics")]
    pub gpus: Option<Vec<u32>>,
    /// Seconds between two samples of a GPU, where it differs from the scrapes'.
    #[arg(long, value_name = "SECONDS", help_heading = "Metrics")]
    pub gpu_interval: Option<f64>,
    /// Draw nothing at the end.
    #[arg(long, help_heading = "Metrics")]
    pub no_plots: bool,
    /// What else to record, and where else to send it; keys of the same file.
    #[command(flatten)]
    #[serde(skip)]
    pub recording: RecordingArgs,

    /// Print the times of every batch and their statistics.
    #[arg(long, help_heading = "Console")]
    pub print_timing: bool,
    /// Print histograms of prompt and output lengths.
    #[arg(long, help_heading = "Console")]
    pub print_histogram: bool,
    /// Amount of logging.
    #[arg(long, ignore_case = true, help_heading = "Console")]
    pub log_level: Option<LogLevel>,
    /// Run the load with and without metrics collection, PAIRS times each in alternation (default 5), and tell what
    /// collection costs: the ratio of throughputs with its 95 % interval. Exit status 1 if it costs 0.5 % or more, or
    /// if the interval contains 1 and is wider than 4 %: then nothing was shown.
    #[arg(long, value_name = "PAIRS", num_args = 0..=1, default_missing_value = "5", help_heading = "Metrics")]
    #[serde(skip)]
    pub overhead_check: Option<u32>,
    /// One run of that check.
    #[arg(long, hide = true, requires = "overhead_dir")]
    #[serde(skip)]
    pub overhead_arm: Option<Arm>,
    /// The folder of that run.
    #[arg(long, hide = true, requires = "overhead_arm")]
    #[serde(skip)]
    pub overhead_dir: Option<PathBuf>,
    /// Show the resolved plan and every check, send no load.
    #[arg(long, help_heading = "Console")]
    pub dry_run: bool,
}

/// Flags of `sut sim`.
#[derive(Debug, Args)]
pub struct SimCommand {
    /// What to simulate.
    #[command(flatten)]
    pub server: vllm_sim::SimArgs,
    /// Answer this dataset's prompts with its reference token ids.
    #[arg(long, value_name = "DATASET")]
    pub references: Option<PathBuf>,
    /// Stop after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub for_secs: Option<f64>,
}

/// Flags of `sut collect`. Every flag is also a key of its configuration file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CollectArgs {
    /// Read flags from this TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Server or metrics endpoint; repeat for several.
    #[arg(long, visible_aliases = ["endpoint", "server-metrics"])]
    pub url: Vec<String>,
    /// Seconds between scrapes; fractions allowed. Default: 1.
    #[arg(long, visible_alias = "metrics-collection-interval")]
    pub interval: Option<f64>,
    /// Stop after this time: seconds, or with a suffix (30s, 10m). Default: until interrupted.
    #[arg(long)]
    pub duration: Option<String>,
    /// Folder for the files. Default: ./metrics_output.
    #[arg(long, visible_alias = "metrics-output-dir")]
    pub output_dir: Option<PathBuf>,
    /// File format. Default: parquet.
    #[arg(long, value_enum)]
    pub format: Option<FormatArg>,
    /// Draw nothing at the end.
    #[arg(long)]
    pub no_plots: bool,
    /// What else to record, and where else to send it; keys of the same file.
    #[command(flatten)]
    #[serde(skip)]
    pub recording: RecordingArgs,
}

/// Flags of `sut report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Any file of the run.
    pub run: PathBuf,
    /// Where the folder `visualizations` goes; default: beside the run.
    #[arg(long)]
    pub output_dir: Option<PathBuf>,
}

/// Flags of `sut convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Any file of the run.
    pub run: PathBuf,
    /// Format to write.
    #[arg(long, value_enum)]
    pub to: FormatArg,
    /// Folder to write into; made when it is missing.
    #[arg(long)]
    pub output_dir: PathBuf,
}

/// Flags of `sut score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Folder of the run's logs.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Dataset of the run.
    #[arg(long, value_name = "FILE")]
    pub dataset_path: PathBuf,
    /// Column of the reference output.
    #[arg(long)]
    pub output_column: Option<String>,
}

/// Division of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DivisionArg {
    /// The benchmark as it is.
    Closed,
    /// Anything, with the same measurements.
    Open,
}

/// Flags of `sut submission`.
#[derive(Debug, Clone, Args)]
pub struct SubmissionArgs {
    /// Folder of a run, or one above several (as --test-mode both leaves it); repeat for more. All runs of one
    /// benchmark on one system.
    #[arg(long = "run", value_name = "DIR", required = true)]
    pub runs: Vec<PathBuf>,
    /// Folder to lay the submission out in. One that has a submission already is added to.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Division.
    #[arg(long)]
    pub division: DivisionArg,
    /// The submitting organisation: the name of its folder.
    #[arg(long, value_name = "NAME")]
    pub submitter: String,
    /// The system: the name of its folder and file.
    #[arg(long, value_name = "NAME")]
    pub system: String,
    /// Facts that no record holds: TOML with `[system]` and `[measurements]`, or a flat JSON system description. Repeat
    /// for several; the later one wins.
    #[arg(long = "facts", value_name = "FILE")]
    pub facts: Vec<PathBuf>,
    /// How weights were quantised and calibrated: a Markdown file, carried as documentation/calibration.md.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Where the code of this submission is: a link or a sentence, carried in `src/<benchmark>/README.md`.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// Lay out runs, too, that are not fit for a submission, and mark them as such.
    #[arg(long)]
    pub allow_unfit: bool,
}
