//! The resolved run: what `cli::RunArgs` and the configuration file become once, with no options left that have a
//! default, every cross-check done, and all that is wrong said at once.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::cli::{FormatArg, LogLevel, ModeArg, RunArgs, ScenarioArg};
use crate::exit::Fail;

/// Where the server is.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerPlan {
    /// Running already.
    Attach {
        /// Base URL without a trailing slash.
        url: String,
    },
    /// Started and stopped by us.
    Start {
        /// Model to serve.
        model: String,
        /// Program and leading arguments.
        command: Vec<String>,
        /// Arguments after the model.
        args: Vec<String>,
        /// Longest wait until it is ready.
        startup_timeout: Duration,
    },
    /// The built-in simulator.
    Simulator,
}

/// Where the prompts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum DatasetPlan {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Column of the text, when it is not the usual one.
        input_column: Option<String>,
        /// Column of the token ids, when it is not the usual one.
        input_ids_column: Option<String>,
        /// Column of the reference, when it is not the usual one.
        output_column: Option<String>,
    },
    /// Made up.
    Synthetic,
}

/// What to record.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsPlan {
    /// Folder.
    pub output_dir: PathBuf,
    /// Time between scrapes.
    pub interval: Duration,
    /// Raw format.
    pub format: FormatArg,
    /// Endpoint when it is not `URL/metrics`.
    pub url: Option<String>,
    /// Draw pictures at the end.
    pub plots: bool,
    /// Sample the GPUs.
    pub gpu: bool,
    /// Which, by NVML index; `None`: the server's own where its process is known, else all of this machine.
    pub gpus: Option<Vec<u32>>,
    /// Time between two samples of a GPU.
    pub gpu_interval: Duration,
}

/// A run with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where the server is.
    pub server: ServerPlan,
    /// Name the server knows the model by; `None`: the only model it lists.
    pub model: Option<String>,
    /// Bearer token. Never printed.
    pub api_key: Option<String>,
    /// Where the prompts come from.
    pub dataset: DatasetPlan,
    /// Cut the dataset to its first so many samples.
    pub num_samples: Option<usize>,
    /// Scenario.
    pub scenario: ScenarioArg,
    /// Mode.
    pub mode: ModeArg,
    /// Benchmark name in mlperf.conf.
    pub benchmark: String,
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
}

/// Formats that a dataset file may have.
const DATASET_EXTENSIONS: [&str; 6] = ["json", "jsonl", "csv", "parquet", "pkl", "pickle"];

impl Plan {
    /// Merges the command line with its configuration file and resolves both.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Usage`] with every problem found, one a line.
    pub fn resolve(args: RunArgs) -> Result<Self, Fail> {
        let args = match &args.config {
            None => args,
            Some(path) => {
                let file = read_config(path).map_err(Fail::usage)?;
                merge(args, file)
            }
        };
        let mut wrong = Vec::new();
        let plan = Self::from_args(args, &mut wrong);
        if wrong.is_empty() {
            return Ok(plan);
        }
        let mut message = String::from("nothing was sent, because:");
        for problem in wrong {
            let _ = write!(message, "\n  - {problem}");
        }
        Err(Fail::usage(anyhow!(message)))
    }

    fn from_args(args: RunArgs, wrong: &mut Vec<String>) -> Self {
        let scenario = args.scenario.unwrap_or(ScenarioArg::Offline);
        let server = server_plan(&args, wrong);
        let dataset = dataset_plan(&args, wrong);
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
            && !(qps.is_finite() && qps > 0.0)
        {
            wrong.push(format!("--target-qps {qps}: must be a number above 0"));
        }
        if args.max_tokens == Some(0) {
            wrong.push("--max-tokens: must be at least 1".into());
        }
        let duration = args
            .duration
            .as_deref()
            .and_then(|text| match parse_duration(text) {
                Ok(duration) => Some(duration),
                Err(why) => {
                    wrong.push(format!("--duration {text}: {why}"));
                    None
                }
            });
        let request_timeout = seconds("--request-timeout", args.request_timeout, 1800.0, wrong);
        let stall_timeout = seconds("--stall-timeout", args.stall_timeout, 300.0, wrong);
        let metrics = metrics_plan(&args, wrong);
        Self {
            server,
            model: args.model.clone(),
            api_key: args.api_key,
            dataset,
            num_samples: args.num_samples,
            scenario,
            mode: args.test_mode.unwrap_or(ModeArg::Performance),
            benchmark: args.lg_model_name.unwrap_or_else(|| "llama3_1-8b".into()),
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
        }
    }

    /// The plan as text for a person, without the key.
    pub fn shown(&self) -> String {
        let api_key = self.api_key.as_ref().map(|_| "(redacted)".to_owned());
        format!(
            "{:#?}",
            Self {
                api_key,
                ..self.clone()
            }
        )
    }

    /// True when the server is our simulator, and so everything that comes out of the run is simulated.
    pub fn simulated(&self) -> bool {
        self.server == ServerPlan::Simulator
    }
}

fn server_plan(args: &RunArgs, wrong: &mut Vec<String>) -> ServerPlan {
    let starts = args.serve_command.is_some() || args.server_args.is_some() || args.startup_timeout.is_some();
    if let Some(url) = &args.url {
        if starts {
            wrong.push(
                "--url attaches to a running server; --serve-command, --server-args and --startup-timeout are for one \
                 that is started: give one or the other"
                    .into(),
            );
        }
        if !(url.starts_with("http://") || url.starts_with("https://")) || url.len() <= "https://".len() {
            wrong.push(format!("--url {url}: must be like http://127.0.0.1:8000"));
        }
        // Users paste the address of the API as often as that of the server.
        let base = url
            .trim_end_matches('/')
            .trim_end_matches("/v1")
            .trim_end_matches('/');
        return ServerPlan::Attach { url: base.to_owned() };
    }
    let Some(model) = &args.model else {
        if starts {
            wrong
                .push("--serve-command, --server-args and --startup-timeout are for a server that is started: name its model with --model".into());
        }
        return ServerPlan::Simulator;
    };
    let command = split_words(args.serve_command.as_deref().unwrap_or("vllm serve"));
    if command.is_empty() {
        wrong.push("--serve-command: is empty".into());
    }
    ServerPlan::Start {
        model: model.clone(),
        command,
        args: split_words(args.server_args.as_deref().unwrap_or("")),
        startup_timeout: seconds("--startup-timeout", args.startup_timeout, 600.0, wrong),
    }
}

fn dataset_plan(args: &RunArgs, wrong: &mut Vec<String>) -> DatasetPlan {
    let Some(path) = &args.dataset_path else {
        for (flag, column) in [
            ("--input-column", &args.input_column),
            ("--input-ids-column", &args.input_ids_column),
            ("--output-column", &args.output_column),
        ] {
            if column.is_some() {
                wrong.push(format!(
                    "{flag} names a column of a dataset: give the dataset with --dataset-path"
                ));
            }
        }
        return DatasetPlan::Synthetic;
    };
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or("")
        .to_ascii_lowercase();
    if !DATASET_EXTENSIONS.contains(&extension.as_str()) {
        wrong.push(format!(
            "--dataset-path {}: its name must end in one of .{}",
            path.display(),
            DATASET_EXTENSIONS.join(" .")
        ));
    } else if !path.is_file() {
        wrong.push(format!("--dataset-path: there is no file {}", path.display()));
    }
    DatasetPlan::File {
        path: path.clone(),
        input_column: args.input_column.clone(),
        input_ids_column: args.input_ids_column.clone(),
        output_column: args.output_column.clone(),
    }
}

fn metrics_plan(args: &RunArgs, wrong: &mut Vec<String>) -> Option<MetricsPlan> {
    let interval = args.metrics_collection_interval.unwrap_or(1.0);
    if !(interval.is_finite() && (0.01..=86_400.0).contains(&interval)) {
        wrong.push(format!(
            "--metrics-collection-interval {interval}: must be from 0.01 to 86400 seconds"
        ));
    }
    if !args.enable_metrics_collection {
        for (flag, given) in [
            ("--metrics-output-dir", args.metrics_output_dir.is_some()),
            (
                "--metrics-collection-interval",
                args.metrics_collection_interval.is_some(),
            ),
            ("--metrics-format", args.metrics_format.is_some()),
            ("--metrics-url", args.metrics_url.is_some()),
            ("--gpu-interval", args.gpu_interval.is_some()),
            ("--no-gpu-telemetry", args.no_gpu_telemetry),
            ("--gpus", args.gpus.is_some()),
            ("--no-plots", args.no_plots),
        ] {
            if given {
                wrong.push(format!(
                    "{flag} has no effect without --enable-metrics-collection"
                ));
            }
        }
        return None;
    }
    let interval = Duration::try_from_secs_f64(interval).unwrap_or(Duration::from_secs(1));
    let gpu_interval = args.gpu_interval.map_or(interval, |secs| {
        if !(secs.is_finite() && (0.01..=86_400.0).contains(&secs)) {
            wrong.push(format!(
                "--gpu-interval {secs}: must be from 0.01 to 86400 seconds"
            ));
        }
        Duration::try_from_secs_f64(secs).unwrap_or(interval)
    });
    if args.no_gpu_telemetry && (args.gpus.is_some() || args.gpu_interval.is_some()) {
        wrong.push(
            "--no-gpu-telemetry leaves --gpus and --gpu-interval without effect: drop one or the other"
                .into(),
        );
    }
    Some(MetricsPlan {
        output_dir: args
            .metrics_output_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from("./metrics_output")),
        interval,
        format: args.metrics_format.unwrap_or(FormatArg::Parquet),
        url: args.metrics_url.clone(),
        plots: !args.no_plots,
        gpu: !args.no_gpu_telemetry,
        gpus: args.gpus.clone(),
        gpu_interval,
    })
}

fn read_config(path: &Path) -> anyhow::Result<RunArgs> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("--config: cannot read {}", path.display()))?;
    // The error of the TOML reader shows line, column and the keys it knows.
    toml::from_str(&text).with_context(|| format!("--config {}", path.display()))
}

/// The command line wins, key by key; a switch is on when either turns it on.
fn merge(line: RunArgs, file: RunArgs) -> RunArgs {
    RunArgs {
        config: line.config,
        url: line.url.or(file.url),
        model: line.model.or(file.model),
        serve_command: line.serve_command.or(file.serve_command),
        server_args: line.server_args.or(file.server_args),
        startup_timeout: line.startup_timeout.or(file.startup_timeout),
        api_key: line.api_key.or(file.api_key),
        enable_profiler: line.enable_profiler || file.enable_profiler,
        dataset_path: line.dataset_path.or(file.dataset_path),
        input_column: line.input_column.or(file.input_column),
        input_ids_column: line.input_ids_column.or(file.input_ids_column),
        output_column: line.output_column.or(file.output_column),
        scenario: line.scenario.or(file.scenario),
        test_mode: line.test_mode.or(file.test_mode),
        batch_size: line.batch_size.or(file.batch_size),
        num_samples: line.num_samples.or(file.num_samples),
        concurrency: line.concurrency.or(file.concurrency),
        target_qps: line.target_qps.or(file.target_qps),
        duration: line.duration.or(file.duration),
        max_tokens: line.max_tokens.or(file.max_tokens),
        request_timeout: line.request_timeout.or(file.request_timeout),
        stall_timeout: line.stall_timeout.or(file.stall_timeout),
        seed: line.seed.or(file.seed),
        user_conf: line.user_conf.or(file.user_conf),
        lg_model_name: line.lg_model_name.or(file.lg_model_name),
        output_log_dir: line.output_log_dir.or(file.output_log_dir),
        audit_config: line.audit_config.or(file.audit_config),
        enable_metrics_collection: line.enable_metrics_collection || file.enable_metrics_collection,
        metrics_output_dir: line.metrics_output_dir.or(file.metrics_output_dir),
        metrics_collection_interval: line
            .metrics_collection_interval
            .or(file.metrics_collection_interval),
        metrics_format: line.metrics_format.or(file.metrics_format),
        metrics_url: line.metrics_url.or(file.metrics_url),
        no_plots: line.no_plots || file.no_plots,
        no_gpu_telemetry: line.no_gpu_telemetry || file.no_gpu_telemetry,
        gpus: line.gpus.or(file.gpus),
        gpu_interval: line.gpu_interval.or(file.gpu_interval),
        print_timing: line.print_timing || file.print_timing,
        print_histogram: line.print_histogram || file.print_histogram,
        log_level: line.log_level.or(file.log_level),
        dry_run: line.dry_run || file.dry_run,
    }
}

fn seconds(flag: &str, given: Option<f64>, default: f64, wrong: &mut Vec<String>) -> Duration {
    let value = given.unwrap_or(default);
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => duration,
        _ => {
            wrong.push(format!("{flag} {value}: must be a number of seconds above 0"));
            Duration::from_secs_f64(default)
        }
    }
}

/// `30s`, `10m`, `1.5h`, `500ms`, or a bare number of seconds.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let scale = match suffix {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit {other:?}; use ms, s, m or h")),
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "must be like 30s, 10m or 90".to_owned())?;
    match Duration::try_from_secs_f64(number * scale) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be above 0".into()),
    }
}

/// Splits a command line into words; single and double quotes keep spaces. Nothing is expanded.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn plan(line: &str) -> Result<Plan, String> {
        let cli = Cli::try_parse_from(std::iter::once("sut").chain(line.split_whitespace()))
            .map_err(|e| e.to_string())?;
        Plan::resolve(cli.run).map_err(|fail| fail.error.to_string())
    }

    #[test]
    fn what_runs_where() {
        assert_eq!(plan("").unwrap().server, ServerPlan::Simulator);
        assert_eq!(
            plan("--api-server-url http://h:1/v1/").unwrap().server,
            ServerPlan::Attach {
                url: "http://h:1".into()
            }
        );
        let ServerPlan::Start {
            model, command, args, ..
        } = plan("--model org/m").unwrap().server
        else {
            panic!("--model alone starts a server");
        };
        assert_eq!(
            (model.as_str(), command.join(" ").as_str(), args.len()),
            ("org/m", "vllm serve", 0)
        );
    }

    #[test]
    fn the_seed_command_line_is_accepted() {
        let plan = plan(
            "--model meta-llama/Llama-3.1-8B --scenario Offline --test-mode performance \
             --enable-metrics-collection --metrics-output-dir ./m --metrics-collection-interval 2 \
             --enable-profiler --print-timing --print-histogram --log-level DEBUG --lg-model-name llama3_1-8b \
             --batch-size 4 --num-samples 13368 --output-log-dir logs",
        )
        .unwrap();
        assert_eq!(plan.metrics.unwrap().interval, Duration::from_secs(2));
        assert_eq!(plan.log_level, LogLevel::Debug);
    }

    #[test]
    fn every_problem_is_said_at_once() {
        let message = plan(
            "--url ftp://h --scenario server --batch-size 4 --target-qps=-1 --duration 5x --user-conf none.conf \
             --metrics-format csv --input-column x --concurrency 0",
        )
        .unwrap_err();
        for part in [
            "--url ftp://h",
            "--batch-size 4",
            "--target-qps -1",
            "--duration 5x",
            "none.conf",
            "--metrics-format has no effect",
            "--input-column names a column",
            "--concurrency",
        ] {
            assert!(message.contains(part), "{part} is missing in:\n{message}");
        }
    }

    #[test]
    fn durations() {
        for (text, secs) in [
            ("30s", 30.0),
            ("10m", 600.0),
            ("1.5h", 5400.0),
            ("250ms", 0.25),
            ("90", 90.0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(secs)), "{text}");
        }
        for text in ["", "s", "5x", "-1s", "0"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_keep_quoted_spaces() {
        assert_eq!(
            split_words(r#"a "b c" 'd "e"' f''g "" "#),
            ["a", "b c", "d \"e\"", "fg", ""]
        );
    }

    #[test]
    fn a_configuration_file_fills_in_and_refuses_unknown_keys() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.toml");
        std::fs::write(
            &file,
            "scenario = \"Server\"\ntarget-qps = 3.5\nenable-metrics-collection = true\n",
        )
        .unwrap();
        let made = plan(&format!("--config {} --target-qps 7", file.display())).unwrap();
        assert_eq!((made.scenario, made.target_qps), (ScenarioArg::Server, Some(7.0)));
        assert!(made.metrics.is_some());
        std::fs::write(&file, "target_qps = 1\n").unwrap();
        let message = Plan::resolve(
            Cli::try_parse_from(["sut", "--config", file.to_str().unwrap()])
                .unwrap()
                .run,
        )
        .map_err(|fail| format!("{:#}", fail.error))
        .unwrap_err();
        assert!(
            message.contains("run.toml") && message.contains("target_qps"),
            "{message}"
        );
    }

    #[test]
    fn every_example_configuration_resolves() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let cli = Cli::try_parse_from(["sut", "--config", path.to_str().unwrap()]).unwrap();
                Plan::resolve(cli.run).map_err(|fail| fail.error).unwrap();
                seen += 1;
            }
        }
        assert!(seen >= 2);
    }
}
