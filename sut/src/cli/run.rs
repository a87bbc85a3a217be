//! Flags of a test run, as written. Each except `--config` and `--overhead-check` is also a key of the configuration
//! file. Units, defaults and checks are applied by `Plan::resolve`.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::merge::flags;
use super::{
    BalanceArg, ComplianceArg, FormatArg, LogLevel, ModeArg, RecordingArgs, ScenarioArg, TimeText, UiArg,
};

flags! {
    /// Flags of a test run. Every flag except `--config` and `--overhead-check` is also a key of the configuration
    /// file.
    #[derive(Debug, Clone, Default, Args, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    pub struct RunArgs {
        /// Read flags from this TOML file; flags on the command line win.
        #[arg(long, value_name = "FILE")]
        #[serde(skip)]
        pub config: Option<PathBuf>,

        /// Attach to a running server, for example http://127.0.0.1:8000. Repeat the flag, or separate URLs
        /// by commas, for several replicas of one model.
        #[arg(
            long,
            value_name = "URL",
            value_delimiter = ',',
            visible_aliases = ["base-url", "endpoints", "target", "api-server-url", "api-server-urls"],
            help_heading = "Server"
        )]
        #[serde(deserialize_with = "one_or_many")]
        pub url: Option<Vec<String>>,
        /// How requests are distributed over several servers.
        #[arg(long, value_enum, help_heading = "Server")]
        pub balance: Option<BalanceArg>,
        /// Retry a request up to this many times if it failed before its first token (connection refused or
        /// reset, overload). Each retry is recorded and counted, and its time is included. Default: 0.
        #[arg(long, value_name = "N", help_heading = "Server")]
        pub retries: Option<u32>,
        /// Name under which the server serves the model. Without --url, `vllm serve MODEL` is started;
        /// without either, the built-in simulator is used.
        #[arg(long, help_heading = "Server")]
        pub model: Option<String>,
        /// Command that starts the server, for example "python -m vllm.entrypoints.openai.api_server". The model,
        /// --host, --port and the server arguments are appended, or put in place of {model}, {host} and {port}.
        /// Default: vllm serve.
        #[arg(long, value_name = "COMMAND", help_heading = "Server")]
        pub serve_command: Option<String>,
        /// Arguments for the server that is started, for example "--max-num-seqs 512".
        #[arg(
            long,
            value_name = "ARGS",
            allow_hyphen_values = true,
            help_heading = "Server"
        )]
        pub server_args: Option<String>,
        /// Start the server described by this YAML file: model, command, environment, and any server
        /// arguments. --model, --serve-command and --startup-timeout win over the file; --server-args are
        /// appended to its arguments.
        #[arg(long, value_name = "FILE", help_heading = "Server")]
        pub server_config: Option<PathBuf>,
        /// Longest wait for a started server to become ready: 90, 30s, 10m. Default: 10m.
        #[arg(long, value_name = "TIME", help_heading = "Server")]
        pub startup_timeout: Option<TimeText>,
        /// Number of servers to start, with --model or --server-config. Each gets the GPUs that its
        /// tensor, pipeline and data parallel sizes ask for, from --gpus, CUDA_VISIBLE_DEVICES or GPU 0 on,
        /// as CUDA_VISIBLE_DEVICES. Default: 1.
        #[arg(long, value_name = "N", help_heading = "Server")]
        pub replicas: Option<usize>,
        /// Bearer token for the server. It is never stored.
        #[arg(long, env = "VLLM_API_KEY", hide_env_values = true, help_heading = "Server")]
        pub api_key: Option<String>,
        /// Call the server's /start_profile and /stop_profile around the test.
        #[arg(long, help_heading = "Server")]
        pub enable_profiler: bool,

        /// Dataset of token ids: .json, .jsonl, .csv, .parquet or .pkl. Default: synthetic prompts.
        #[arg(long, value_name = "FILE", help_heading = "Load")]
        pub dataset_path: Option<PathBuf>,
        /// Columns and answer length of the dataset, from a YAML file with the keys `fields`,
        /// `total_sample_count` and `model_specific.max_tokens`; flags win.
        #[arg(long, value_name = "FILE", help_heading = "Load")]
        pub dataset_config: Option<PathBuf>,
        /// Dataset for accuracy runs, if the benchmark has a separate one (gpt-oss-120b).
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
        /// Let the built-in simulator answer with the dataset's reference token ids, for meaningful accuracy
        /// figures.
        #[arg(long, help_heading = "Load")]
        pub simulate_references: bool,
        /// LoadGen's scenario. Default: Offline.
        #[arg(long, ignore_case = true, help_heading = "Load")]
        pub scenario: Option<ScenarioArg>,
        /// Timed run, scored run, or both in sequence. Default: performance.
        #[arg(long, ignore_case = true, help_heading = "Load")]
        pub test_mode: Option<ModeArg>,
        /// Prompts per HTTP request (Offline only). Default: 1.
        #[arg(long, help_heading = "Load")]
        pub batch_size: Option<usize>,
        /// Refuse, before any load is sent, a run that could not be submitted to the closed division:
        /// settings that differ from the rules, a short dataset, a simulator, prefix caching.
        #[arg(long, help_heading = "Load")]
        pub official: bool,
        /// Synthetic requests to send to each server before the test and before anything is recorded.
        /// Default: 0.
        #[arg(
            long,
            value_name = "N",
            visible_aliases = ["num-warmups", "warmup-request-count"],
            help_heading = "Load"
        )]
        pub warmup: Option<usize>,
        /// One run at each of these rates, in this order: 1,2,4. As --target-qps, each in its own folder.
        #[arg(long, value_name = "QPS", value_delimiter = ',', help_heading = "Load")]
        pub sweep: Option<Vec<f64>>,
        /// Search for the highest valid Server rate, starting at --target-qps: short trials, then a run of
        /// full length.
        #[arg(long, help_heading = "Load")]
        pub find_peak: bool,
        /// Shortest duration of a short trial of --find-peak. Default: 60s.
        #[arg(long, value_name = "TIME", help_heading = "Load")]
        pub peak_trial: Option<TimeText>,
        /// Precision of --find-peak, as a fraction of the rate. Default: 0.02.
        #[arg(long, value_name = "FRACTION", help_heading = "Load")]
        pub peak_precision: Option<f64>,
        /// Number of samples of the dataset to use. Default: all.
        #[arg(long, visible_aliases = ["num-prompts", "request-count", "max-requests"], help_heading = "Load")]
        pub num_samples: Option<usize>,
        /// Most requests in flight. Default: 512 in Offline, otherwise 4096.
        #[arg(long, visible_aliases = ["max-concurrency", "offline-async-concurrency"], help_heading = "Load")]
        pub concurrency: Option<usize>,
        /// Arrivals per second (Server), or expected samples per second (Offline).
        #[arg(long, visible_aliases = ["request-rate", "server-target-qps", "rate"], value_name = "QPS", help_heading = "Load")]
        pub target_qps: Option<f64>,
        /// Shortest duration of the run: 90, 30s, 10m. Overrides user.conf. Default: from user.conf or the
        /// benchmark; 20s on the built-in simulator.
        #[arg(long, value_name = "TIME", visible_aliases = ["benchmark-duration", "max-seconds"], help_heading = "Load")]
        pub duration: Option<TimeText>,
        /// Longest output, in tokens. Default: from the benchmark.
        #[arg(long, help_heading = "Load")]
        pub max_tokens: Option<u32>,
        /// Deadline of a request: 90, 30s, 10m; a request that takes longer fails. Default: 30m.
        #[arg(long, value_name = "TIME", help_heading = "Load")]
        pub request_timeout: Option<TimeText>,
        /// Longest time without any answer from the server while requests are outstanding, before the run is
        /// aborted. Default: 5m.
        #[arg(long, value_name = "TIME", help_heading = "Load")]
        pub stall_timeout: Option<TimeText>,
        /// Seed of the synthetic dataset and of the simulator. Default: 1.
        #[arg(long, help_heading = "Load")]
        pub seed: Option<u64>,

        /// LoadGen's user.conf.
        #[arg(long, value_name = "FILE", help_heading = "LoadGen")]
        pub user_conf: Option<PathBuf>,
        /// Benchmark name as in LoadGen's mlperf.conf; it determines limits, counts and the length of
        /// answers. Default: llama3_1-8b.
        #[arg(long, help_heading = "LoadGen")]
        pub lg_model_name: Option<String>,
        /// Folder for LoadGen's logs and the result. A run in it whose result counts is moved aside. Default:
        /// ./mlperf_logs.
        #[arg(
            long,
            value_name = "DIR",
            visible_aliases = ["output-dir", "result-dir", "artifact-dir", "report-dir"],
            help_heading = "LoadGen"
        )]
        pub output_log_dir: Option<PathBuf>,
        /// Compliance audit.config to use. Without it no audit.config is used, not even one in the working
        /// directory.
        #[arg(
            long,
            value_name = "FILE",
            visible_alias = "audit-conf",
            help_heading = "LoadGen"
        )]
        pub audit_config: Option<PathBuf>,
        /// Run a compliance test: write and apply its audit.config, then verify what LoadGen logged.
        #[arg(long, ignore_case = true, help_heading = "LoadGen")]
        pub compliance: Option<ComplianceArg>,

        /// What to record.
        #[command(flatten)]
        #[serde(skip)]
        pub metrics: MetricsArgs,
        /// Additional recording options and receivers; keys of the same file.
        #[command(flatten)]
        #[serde(skip)]
        pub recording: RecordingArgs,

        /// Print the times of every batch and their statistics.
        #[arg(long, help_heading = "Console")]
        pub print_timing: bool,
        /// Print histograms of prompt and output lengths.
        #[arg(long, help_heading = "Console")]
        pub print_histogram: bool,
        /// How progress is shown. Default: a bar on a terminal, otherwise a line every 5 s.
        #[arg(long, value_enum, help_heading = "Console")]
        pub ui: Option<UiArg>,
        /// Amount of logging. Default: INFO.
        #[arg(long, ignore_case = true, help_heading = "Console")]
        pub log_level: Option<LogLevel>,
        /// Run the load with and without metrics collection, PAIRS times each in alternation (3 to 1000,
        /// default 5), and report the cost of collection: the ratio of throughputs with its 95 % interval. Exit status 1 if
        /// the whole interval is below 1 and the mean loss is 0.5 % or more, or if the interval contains 1 and
        /// is wider than 4 %, which is inconclusive.
        #[arg(long, value_name = "PAIRS", num_args = 0..=1, default_missing_value = "5", help_heading = "Metrics")]
        #[serde(skip)]
        pub overhead_check: Option<u32>,
        /// Show the resolved plan and every check; send no load.
        #[arg(long, help_heading = "Console")]
        pub dry_run: bool,
    }
}

flags! {
    /// What a test run records. Any of these flags except `--no-…` turns recording on.
    #[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    pub struct MetricsArgs {
        /// Record server, GPU, host and harness metrics, and plot them at the end.
        #[arg(long, visible_alias = "enable-metrics", help_heading = "Metrics")]
        pub enable_metrics_collection: bool,
        /// Folder for metrics and plots. Default: ./metrics_output.
        #[arg(long, value_name = "DIR", help_heading = "Metrics")]
        pub metrics_output_dir: Option<PathBuf>,
        /// Time between scrapes: 1, 500ms. Default: 1s.
        #[arg(long, value_name = "TIME", visible_aliases = ["metrics-interval", "scrape-interval"], help_heading = "Metrics")]
        pub metrics_collection_interval: Option<TimeText>,
        /// File format of the raw metrics. Default: parquet.
        #[arg(long, value_enum, help_heading = "Metrics")]
        pub metrics_format: Option<FormatArg>,
        /// Metrics endpoint, if it is not URL/metrics.
        #[arg(
            long,
            value_name = "URL",
            visible_alias = "server-metrics",
            help_heading = "Metrics"
        )]
        pub metrics_url: Option<String>,
        /// Upload the record and its plots at the end of the run: s3://bucket/prefix, with credentials from
        /// AWS_ACCESS_KEY_ID and related variables, or file:///folder. Needs a build with the feature
        /// `upload`.
        #[arg(long, value_name = "URL", help_heading = "Metrics")]
        pub metrics_upload: Option<String>,
        /// Do not sample GPUs.
        #[arg(long, help_heading = "Metrics")]
        pub no_gpu_telemetry: bool,
        /// GPUs to sample, by NVML index: 0,1,2. Default: those used by the server's processes; if these are
        /// unknown, all GPUs of this machine; none if the server is on another machine.
        #[arg(long, value_name = "INDICES", value_delimiter = ',', help_heading = "Metrics")]
        pub gpus: Option<Vec<u32>>,
        /// Time between two samples of a GPU. Default: the time between scrapes.
        #[arg(long, value_name = "TIME", help_heading = "Metrics")]
        pub gpu_interval: Option<TimeText>,
        /// Do not draw plots at the end.
        #[arg(long, help_heading = "Metrics")]
        pub no_plots: bool,
        /// Serve the report of the run while it goes on, at this port of 127.0.0.1; 0 is any free port. The log
        /// shows the address.
        #[arg(long, value_name = "PORT", help_heading = "Metrics")]
        pub dashboard_port: Option<u16>,
        /// Address at which --dashboard-port listens. Beyond loopback, the page needs the token that is part of
        /// the shown address. Default: 127.0.0.1.
        #[arg(long, value_name = "ADDRESS", help_heading = "Metrics")]
        pub dashboard_address: Option<std::net::IpAddr>,
        /// Name under which browsers may call the dashboard, in addition to addresses and localhost. Repeatable.
        #[arg(long, value_name = "NAME", help_heading = "Metrics")]
        pub dashboard_allow_host: Vec<String>,
        /// Compare this run with a stored one at its end: any file of that run. The exit status is 5 for a
        /// regression and 6 for runs that are not comparable.
        #[arg(long, value_name = "RUN", help_heading = "Metrics")]
        pub baseline: Option<PathBuf>,
    }
}

/// A key of the configuration file that accepts one text or a list of texts.
pub(super) fn one_or_many<'de, D: serde::Deserializer<'de>>(
    file: D,
) -> Result<Option<Vec<String>>, D::Error> {
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
