//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use vllm_monitor_cli::settings::{Flags, TargetFlags};

/// Observes vLLM servers: their state with the reasons, and failures predicted with probability and time.
#[derive(Debug, Parser)]
#[command(name = "vllm-monitor", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Observe servers that run already.
    Attach(Attach),
    /// Start a server and observe it; exit with its status. Can be process 1 of a container.
    Run(Run),
    /// Check, before a start, what would keep a server from starting. Ends with 0, with 1 if something would, and
    /// with 2 if not everything could be checked.
    Check(Check),
    /// Show the status of a running monitor. Exit status: 0 if every server accepts requests, 1 if one does not, 3
    /// without a monitor.
    Status(Ask),
    /// Show the status of a running monitor, refreshed.
    Watch(Watch),
    /// Show a running monitor's recommended actions, best first, and what it learned.
    Recommendations(Recommendations),
    /// Evaluate recorded runs as if they were under way, as fast as possible.
    Replay(Replay),
    /// Write what a monitor knows and has learned.
    Export(Export),
    /// Start the next monitor with what another one has learned. No monitor may use the state file meanwhile.
    Import(Import),
    /// Check or show an audit of actions.
    Audit(crate::tools::Audit),
    /// Write, check, list and try plugins.
    Plugins(crate::tools::Plugins),
}

/// Where the monitor answers.
const MONITOR: &str = "127.0.0.1:9464";

/// `vllm-monitor status`
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// Address of the monitor.
    #[arg(long, value_name = "ADDRESS", default_value = MONITOR)]
    pub(crate) monitor: String,
    /// Write JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `vllm-monitor recommendations`
#[derive(Debug, Args)]
pub(crate) struct Recommendations {
    /// Address of the monitor.
    #[arg(long, value_name = "ADDRESS", default_value = MONITOR)]
    pub(crate) monitor: String,
    /// One target only.
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// One failure only, such as `kv_preemption`.
    #[arg(long, value_name = "NAME")]
    pub(crate) failure: Option<String>,
    /// Write JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `vllm-monitor watch`
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Address of the monitor.
    #[arg(long, value_name = "ADDRESS", default_value = MONITOR)]
    pub(crate) monitor: String,
    /// Seconds between refreshes.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) every_secs: f64,
}

/// `vllm-monitor replay`
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Runs that `vllm-metrics` or `sut` recorded, or files of snapshots (`.jsonl`).
    #[arg(required = true, value_name = "RECORD")]
    pub(crate) records: Vec<PathBuf>,
    /// Write decisions as JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings file, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting, such as `parameters.hang.floor_secs=20`; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

/// What `export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The status, and what was learned, which `import` reads.
    Json,
    /// The page of `/metrics`.
    Prometheus,
}

/// `vllm-monitor export`
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// What to write.
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) format: Format,
    /// Address of the monitor.
    #[arg(long, value_name = "ADDRESS", default_value = MONITOR)]
    pub(crate) monitor: String,
    /// Where what was learned is kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) state_file: Option<String>,
    /// The file to write; standard output if none is given.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `vllm-monitor import`
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A JSON file that `export` wrote.
    pub(crate) file: PathBuf,
    /// Where what was learned is kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) state_file: Option<String>,
}

/// Settings that every observing command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Settings file, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print every setting with where it came from, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// One setting, such as `parameters.hang.floor_secs=20`; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Seconds between snapshots, probes and pages of metrics [default: 1].
    #[arg(long, value_name = "SECONDS")]
    interval_secs: Option<f64>,
    /// Address of the monitor's own endpoint, a port on loopback, or `off` [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// A name by which the endpoint may be asked, besides addresses and this machine's own; may be given again.
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<String>,
    /// File with the token for routes that change something.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where to keep what was learned, or `off` [default: the user's state folder].
    #[arg(long, value_name = "FILE")]
    state_file: Option<String>,
    /// Seconds between saves of it [default: 60].
    #[arg(long, value_name = "SECONDS")]
    save_interval_secs: Option<f64>,
    /// Where to write events as JSON lines: a file, `-`, `stderr` or `off`.
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,
    /// URL that receives each alert as JSON; may be given again.
    #[arg(long = "webhook", value_name = "URL")]
    webhooks: Vec<String>,
    /// Base URL of an Alertmanager; may be given again.
    #[arg(long = "alertmanager", value_name = "URL")]
    alertmanagers: Vec<String>,
    /// An action that may be taken once `enable_auto_mitigation` is on, such as `tighten_admission`; may be given again.
    #[arg(long = "allow-action", value_name = "NAME")]
    allow_actions: Vec<String>,
    /// File with the token of the levers inside the servers.
    #[arg(long, value_name = "FILE")]
    lever_token_file: Option<PathBuf>,
    /// Folder of plugins, which may be added, edited and removed while the monitor runs, or `off` [default: none].
    #[arg(long, value_name = "FOLDER")]
    plugin_folder: Option<String>,
    /// Another driver library than the system's, such as a simulated one; what it reports is marked as simulated.
    #[arg(long, value_name = "FILE")]
    nvml_library: Option<PathBuf>,
}

/// What is known of one server; with several servers, use a settings file.
#[derive(Debug, Args)]
pub(crate) struct OneTarget {
    /// The model that /v1/models must list [default: any].
    #[arg(long)]
    model: Option<String>,
    /// File with the key that the server asks for.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Seconds between canary requests for one token, which find a hang while no other request runs [default: never].
    #[arg(long, value_name = "SECONDS")]
    canary_secs: Option<f64>,
    /// Do not read GPUs.
    #[arg(long)]
    no_gpus: bool,
}

/// `vllm-monitor attach`
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// URL of a server, or `NAME=URL`; may be given again.
    #[arg(long = "url", value_name = "[NAME=]URL")]
    urls: Vec<String>,
    /// Its first process, if it runs on this machine; found by its port otherwise.
    #[arg(long)]
    pid: Option<u32>,
    /// Its log file.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    target: OneTarget,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `vllm-monitor run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) target: OneTarget,
    #[command(flatten)]
    pub(crate) common: Common,
    /// Apply fixes that are safe before the start, and write how to take them back to this file.
    #[arg(long, value_name = "UNDO_FILE", num_args = 0..=1, default_missing_value = "vllm-monitor-undo.json")]
    pub(crate) auto_fix: Option<PathBuf>,
    /// The server's command. The monitor's flags among its arguments are removed and applied.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `vllm-monitor check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The model, where no command is given.
    #[arg(long, value_name = "NAME_OR_FOLDER", env = "VLLM_MODEL_NAME")]
    pub(crate) model: Option<String>,
    /// Write JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// End with 0 as well if not everything could be checked, as for `ExecStartPre=`.
    #[arg(long)]
    pub(crate) allow_unknown: bool,
    /// Apply fixes that are safe, check again, and write how to take them back to this file.
    #[arg(long, value_name = "UNDO_FILE", num_args = 0..=1, default_missing_value = "vllm-monitor-undo.json")]
    pub(crate) auto_fix: Option<PathBuf>,
    /// Take back what an earlier `--auto-fix` did, by its file.
    #[arg(long, value_name = "UNDO_FILE", conflicts_with_all = ["auto_fix", "model", "command"])]
    pub(crate) undo: Option<PathBuf>,
    /// Another driver library than the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) nvml_library: Option<PathBuf>,
    /// The server's command, as it would be started.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

impl Attach {
    /// As the library takes them.
    ///
    /// # Errors
    /// If something that belongs to one server is given with several.
    pub(crate) fn flags(&self) -> Result<Flags, String> {
        let mut targets: Vec<TargetFlags> = self.urls.iter().map(|url| self.target.flags(url)).collect();
        if let [target] = &mut targets[..] {
            target.pid = self.pid;
            target.log.clone_from(&self.log);
        } else if self.pid.is_some() || self.log.is_some() || self.target.model.is_some() {
            return Err(
                "--pid, --log and --model belong to one server: give one --url, or several servers as [[target]] in \
                 a settings file"
                    .to_owned(),
            );
        }
        let mut flags = self.common.flags();
        flags.targets = targets;
        Ok(flags)
    }
}

impl OneTarget {
    pub(crate) fn flags(&self, url: &str) -> TargetFlags {
        TargetFlags {
            url: url.to_owned(),
            model: self.model.clone(),
            api_key_file: self.api_key_file.clone(),
            canary_secs: self.canary_secs,
            gpus: self.no_gpus.then_some(false),
            ..TargetFlags::default()
        }
    }
}

impl Common {
    pub(crate) fn nvml_library(&self) -> Option<PathBuf> {
        self.nvml_library.clone()
    }

    pub(crate) fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            core: self.set.clone(),
            interval_secs: self.interval_secs,
            listen: self.listen.clone(),
            allow_hosts: self.allow_hosts.clone(),
            token_file: self.token_file.clone(),
            state_file: self.state_file.clone(),
            save_interval_secs: self.save_interval_secs,
            log_file: self.log_file.clone(),
            webhooks: self.webhooks.clone(),
            alertmanagers: self.alertmanagers.clone(),
            allow_actions: self.allow_actions.clone(),
            lever_token_file: self.lever_token_file.clone(),
            plugin_folder: self.plugin_folder.clone(),
            nvml_library: self.nvml_library.clone(),
            ..Flags::default()
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "KEY=VALUE is expected".to_owned())
}
