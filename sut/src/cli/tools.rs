//! Flags of the subcommands.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;

use super::merge::flags;
use super::{FormatArg, RecordingArgs, TimeText};

/// Flags of `sut sim`.
#[derive(Debug, Args)]
pub struct SimCommand {
    /// Options of the simulator.
    #[command(flatten)]
    pub server: vllm_sim::SimArgs,
    /// Answer the prompts of this dataset with its reference token ids.
    #[arg(long, value_name = "DATASET")]
    pub references: Option<PathBuf>,
    /// Stop after this time: 90, 30s, 10m. Default: until interrupted.
    #[arg(long, value_name = "TIME", alias = "for-secs")]
    pub duration: Option<TimeText>,
}

flags! {
    /// Flags of `sut collect`. Every flag except `--config` is also a key of its configuration file.
    #[derive(Debug, Clone, Default, Args, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    pub struct CollectArgs {
        /// Read flags from this TOML file; flags on the command line win.
        #[arg(long, value_name = "FILE")]
        #[serde(skip)]
        pub config: Option<PathBuf>,
        /// Server or metrics endpoint. Repeatable.
        #[arg(long, visible_aliases = ["endpoint", "server-metrics"])]
        pub url: Vec<String>,
        /// Time between scrapes: 1, 500ms. Default: 1s.
        #[arg(long, visible_alias = "metrics-collection-interval")]
        pub interval: Option<TimeText>,
        /// Stop after this time: 90, 30s, 10m. Default: until interrupted.
        #[arg(long)]
        pub duration: Option<TimeText>,
        /// Folder for the files. Default: ./metrics_output.
        #[arg(long, visible_alias = "metrics-output-dir")]
        pub output_dir: Option<PathBuf>,
        /// File format. Default: parquet.
        #[arg(long, value_enum)]
        pub format: Option<FormatArg>,
        /// Do not draw plots at the end.
        #[arg(long)]
        pub no_plots: bool,
        /// Additional recording options and receivers; keys of the same file.
        #[command(flatten)]
        #[serde(skip)]
        pub recording: RecordingArgs,
    }
}

/// Flags of `sut report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Any file of the run.
    pub run: PathBuf,
    /// Folder for the report and the folder `visualizations`. Default: the folder of the run.
    #[arg(long)]
    pub output_dir: Option<PathBuf>,
    /// Report only from this time after the start of the run (30s, 10m). Needs --output-dir.
    #[arg(long, value_name = "TIME", requires = "output_dir")]
    pub from: Option<TimeText>,
    /// Report only up to this time after the start of the run. Needs --output-dir.
    #[arg(long, value_name = "TIME", requires = "output_dir")]
    pub to: Option<TimeText>,
    /// Also export the run in the format of another tool. Repeatable.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub export: Vec<ExportArg>,
    /// Print the closing block of `vllm bench serve` with this run's figures.
    #[arg(long)]
    pub bench_output: bool,
}

/// The format of another tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportArg {
    /// The output of `vllm bench serve --save-result`.
    VllmBench,
    /// aiperf's `profile_export_aiperf.json`.
    Aiperf,
    /// MLPerf Endpoints' `result_summary.json`.
    Endpoints,
    /// Requests for an MLflow tracking server; `scripts/send-mlflow` sends them.
    Mlflow,
}

/// Flags of `sut watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Any file or the folder of a record, growing or complete, or the URL of a server, which is scraped
    /// without recording.
    #[arg(value_name = "RECORD|URL", default_value = "./metrics_output")]
    pub run: String,
    /// Time between scrapes of a URL: 1, 500ms. Default: 1s.
    #[arg(long, value_name = "TIME")]
    pub interval: Option<TimeText>,
}

/// Flags of `sut compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Any file of each run. The first run is the baseline, and every other run is compared with it.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Repeats with the changed setting. The runs before this flag are then repeats of the baseline; at least
    /// three per side.
    #[arg(long, num_args = 1.., value_name = "RUN")]
    pub against: Vec<PathBuf>,
    /// With --against: the runs were made alternately, A B A B, so the i-th runs of both sides form a pair.
    #[arg(long, requires = "against")]
    pub in_turn: bool,
    /// Smallest change that counts as improved or regressed, as a fraction.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.01)]
    pub min_effect: f64,
    /// Changes within this margin count as no difference, as a fraction.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.02)]
    pub equivalence: f64,
    /// A setting that may differ, such as vllm_version. Repeatable.
    #[arg(long, value_name = "SETTING")]
    pub across: Vec<String>,
    /// Exit with status 7 if a decisive figure is inconclusive.
    #[arg(long)]
    pub strict: bool,
    /// Page with the comparison. Default: comparison_<stamp>_<stamp>.html in the folder of the last run.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Flags of `sut alerts`.
#[derive(Debug, Args)]
pub struct AlertsArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: AlertsAction,
}

/// What `sut alerts` does.
#[derive(Debug, Subcommand)]
pub enum AlertsAction {
    /// Check a file of alert rules and list its rules.
    Check {
        /// The file.
        rules: PathBuf,
    },
    /// Print the rules as a rule file of Prometheus, or write it to --output.
    Export {
        /// The file.
        rules: PathBuf,
        /// File to write.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Show what the rules would have reported during a stored run. Exits with status 1 if an alert fired.
    Replay {
        /// The file.
        rules: PathBuf,
        /// Any file of the run.
        run: PathBuf,
        /// Time between evaluations: 1, 500ms. At least the time between two scrapes.
        #[arg(long, value_name = "TIME", default_value = "1s")]
        interval: TimeText,
    },
}

/// Flags of `sut plot`.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// Any file of a run. With several runs, each one gets its own set of files.
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Folder for the folder `visualizations`. Default: next to the run.
    #[arg(long)]
    pub output_dir: Option<PathBuf>,
    /// Metrics to plot: NAME,NAME. --list-metrics shows their names. Default: the standard plots.
    #[arg(long, visible_alias = "metrics", value_name = "NAME", value_delimiter = ',')]
    pub metric: Vec<String>,
    /// Print the names that --metric accepts, and draw nothing.
    #[arg(long)]
    pub list_metrics: bool,
    /// Write the summary, and draw nothing.
    #[arg(long)]
    pub summary: bool,
    /// Output file of --metric: a path that ends in .png or .svg. Default: visualizations/NAME_STAMP.png.
    #[arg(long, visible_alias = "save", value_name = "FILE", requires = "metric")]
    pub output: Option<PathBuf>,
    /// Title of the plot.
    #[arg(long)]
    pub title: Option<String>,
    /// Resolution of PNG files, in pixels per inch.
    #[arg(long, default_value_t = 300.0)]
    pub dpi: f32,
    /// Width and height in inches, for example 12x8. Default: 12 by the height that the panels need.
    #[arg(long, value_name = "WxH", value_parser = size, requires = "metric")]
    pub size: Option<(f32, f32)>,
    /// Colour theme.
    #[arg(long, value_enum, default_value_t = ThemeArg::Light)]
    pub theme: ThemeArg,
    /// Label the time axis with the time of day (UTC) instead of the time since the start.
    #[arg(long)]
    pub utc: bool,
    /// Draw all metrics of --metric in one panel instead of one panel each.
    #[arg(long, requires = "metric")]
    pub overlay: bool,
    /// Draw a line for each value of these labels; series with equal values are combined. `server` is the
    /// address.
    #[arg(long, value_name = "LABEL", value_delimiter = ',', requires = "metric")]
    pub by: Vec<String>,
    /// Draw one line for all series of a metric.
    #[arg(long, requires = "metric", conflicts_with = "by")]
    pub together: bool,
    /// Only series with this label, for example engine=0. Repeatable.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label, requires = "metric")]
    pub label: Vec<(String, String)>,
    /// Draw histograms as heat maps instead of quantile bands.
    #[arg(long, requires = "metric")]
    pub heatmap: bool,
    /// Mark every warning and error in the record, not only lost servers, restarts and GPU faults.
    #[arg(long)]
    pub events: bool,
    /// Draw a bar for each batch of requests.
    #[arg(long)]
    pub batches: bool,
}

/// Colours of plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ThemeArg {
    /// White background.
    Light,
    /// Dark grey background.
    Dark,
    /// White background, with colours suitable for colour-blind readers.
    ColorBlind,
}

fn size(text: &str) -> Result<(f32, f32), String> {
    let wrong = || format!("{text} is not a size like 12x8 (inches)");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let inches = |part: &str| {
        part.trim()
            .parse::<f32>()
            .ok()
            .filter(|n| (1.0..=100.0).contains(n))
    };
    inches(width).zip(inches(height)).ok_or_else(wrong)
}

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("{text} is not LABEL=VALUE"))
}

/// Flags of `sut convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Any file of the run.
    pub run: PathBuf,
    /// Format to write.
    #[arg(long, value_enum)]
    pub to: FormatArg,
    /// Folder to write into; created if missing.
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
    /// The benchmark without changes.
    Closed,
    /// Any changes, with the same measurements.
    Open,
}

/// Flags of `sut submission`.
#[derive(Debug, Clone, Args)]
pub struct SubmissionArgs {
    /// Folder of a run, or a parent folder of several (as --test-mode both creates it). Repeatable. All runs
    /// must be of one benchmark on one system.
    #[arg(long = "run", value_name = "DIR", required = true)]
    pub runs: Vec<PathBuf>,
    /// Folder for the submission. An existing submission is extended.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Division of the submission.
    #[arg(long)]
    pub division: DivisionArg,
    /// The submitting organisation: the name of its folder.
    #[arg(long, value_name = "NAME")]
    pub submitter: String,
    /// The system: the name of its folder and file.
    #[arg(long, value_name = "NAME")]
    pub system: String,
    /// Facts that are not in the records: TOML with `[system]` and `[measurements]`, or a flat JSON system
    /// description. Repeatable; later files win.
    #[arg(long = "facts", value_name = "FILE")]
    pub facts: Vec<PathBuf>,
    /// Markdown file that describes how weights were quantised and calibrated; copied to
    /// documentation/calibration.md.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Location of the submission's code: a link or a sentence, copied to `src/<benchmark>/README.md`.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// Also lay out runs that are not fit for a submission, and mark them as such.
    #[arg(long)]
    pub allow_unfit: bool,
}

/// Flags of `sut process`.
#[derive(Debug, Args)]
pub struct ProcessArgs {
    /// Any raw file of the run.
    pub run: PathBuf,
    /// Folder to write into. Default: the folder of the run.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Format to write. Default: the format of the run.
    #[arg(long, value_enum)]
    pub to: Option<FormatArg>,
}

/// Flags of `sut doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Server or metrics endpoint.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000", visible_aliases = ["base-url", "endpoint"])]
    pub url: String,
}

/// Flags of `sut completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to write completions for; `man` writes the man page instead.
    #[arg(value_enum)]
    pub shell: ShellArg,
}

/// The kind of completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShellArg {
    /// Bash.
    Bash,
    /// Elvish.
    Elvish,
    /// Fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// Zsh.
    Zsh,
    /// The man page, in roff.
    Man,
}
