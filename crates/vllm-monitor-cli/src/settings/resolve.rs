//! From flags, environment and file to [`Resolved`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vllm_metrics::ShownUrl;
use vllm_monitor::config::{Provenance, Settings};
use vllm_monitor::log::LogPatterns;

use super::file::{self, FileSettings, TargetTable};
use super::{AlertSettings, Resolved};
use crate::error::{Error, Result};
use crate::journal::Destination;
use crate::plugins::PluginSettings;
use crate::probe::Endpoint;
use crate::serve::Access;
use crate::state_keeper;
use crate::target::TargetSpec;

/// Where the monitor listens unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// Longest file that is read as a token or key.
const LONGEST_SECRET: usize = 4096;
/// Shortest and longest time between snapshots, saves and canaries, in seconds.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.1..=60.0;
const SAVE_INTERVALS: std::ops::RangeInclusive<f64> = 0.05..=3600.0;
const CANARY_INTERVALS: std::ops::RangeInclusive<f64> = 10.0..=86_400.0;

/// Variables of the environment that are the program's, and the keys that they set. The core has more.
pub const VARIABLES: &[(&str, &str)] = &[
    ("VLLM_MONITOR_CONFIG", "config"),
    ("VLLM_MONITOR_LISTEN", "serve.listen"),
    ("VLLM_MONITOR_TOKEN_FILE", "serve.token_file"),
    ("VLLM_MONITOR_STATE_FILE", "state_file"),
    ("VLLM_MONITOR_LOG_FILE", "log_file"),
    ("VLLM_MONITOR_LEVER_TOKEN_FILE", "acting.lever_token_file"),
    ("VLLM_MONITOR_PLUGIN_FOLDER", "plugin_folder"),
];

/// Flags as given; what was not given is `None` or empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Flags {
    /// A settings file.
    pub config: Option<PathBuf>,
    /// Core keys and values, as `--set key=value` and switches such as `--enable-monitoring` give them.
    pub core: Vec<(String, String)>,
    /// Targets.
    pub targets: Vec<TargetFlags>,
    /// Seconds between snapshots.
    pub interval_secs: Option<f64>,
    /// An address, or `off`.
    pub listen: Option<String>,
    /// Names by which the monitor may be asked.
    pub allow_hosts: Vec<String>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// A file, or `off`.
    pub state_file: Option<String>,
    /// Seconds between saves.
    pub save_interval_secs: Option<f64>,
    /// A file, `-` for standard output, `stderr`, or `off`.
    pub log_file: Option<String>,
    /// Where events go if nothing is said.
    pub default_log: Option<Destination>,
    /// Webhooks.
    pub webhooks: Vec<String>,
    /// Alertmanagers.
    pub alertmanagers: Vec<String>,
    /// Actions that are enabled.
    pub allow_actions: Vec<String>,
    /// A file with the token of the levers.
    pub lever_token_file: Option<PathBuf>,
    /// A folder of plugins, or `off`.
    pub plugin_folder: Option<String>,
    /// Another driver library.
    pub nvml_library: Option<PathBuf>,
}

/// One target by flags.
#[derive(Clone, PartialEq, Default)]
pub struct TargetFlags {
    /// `NAME=URL` or a URL.
    pub url: String,
    /// Its process.
    pub pid: Option<u32>,
    /// Its log.
    pub log: Option<PathBuf>,
    /// Its model.
    pub model: Option<String>,
    /// A file with its key.
    pub api_key_file: Option<PathBuf>,
    /// Its key itself, as it stood among a server's own arguments.
    pub api_key: Option<String>,
    /// Seconds between canaries.
    pub canary_secs: Option<f64>,
    /// Read its GPUs.
    pub gpus: Option<bool>,
}

impl std::fmt::Debug for TargetFlags {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table().fmt(f)
    }
}

impl TargetFlags {
    fn table(&self) -> TargetTable {
        // A URL has its `=` in the query at the earliest, which is refused anyway.
        let (name, url) = match self.url.split_once('=') {
            Some((name, url)) if !name.contains("://") => (Some(name.to_owned()), url),
            _ => (None, self.url.as_str()),
        };
        TargetTable {
            name,
            url: url.to_owned(),
            pid: self.pid,
            log: self.log.clone(),
            model: self.model.clone(),
            api_key_file: self.api_key_file.clone(),
            canary_secs: self.canary_secs,
            gpus: self.gpus,
            ..TargetTable::default()
        }
    }
}

impl Resolved {
    /// Resolves everything. The program `vllm-monitor` has monitoring on unless it is turned off by name.
    ///
    /// # Errors
    /// [`Error::Settings`] with every problem, one a line, each with its key and source.
    pub fn new(flags: &Flags, environment: &[(String, String)]) -> Result<Self> {
        let mut draft = Draft {
            flags,
            environment,
            problems: Vec::new(),
            printed: Vec::new(),
        };
        let resolved = draft.resolve();
        match resolved {
            Some(resolved) if draft.problems.is_empty() => Ok(resolved),
            _ => Err(Error::Settings(draft.problems)),
        }
    }
}

pub(super) struct Draft<'a> {
    pub(super) flags: &'a Flags,
    environment: &'a [(String, String)],
    pub(super) problems: Vec<String>,
    pub(super) printed: Vec<(String, String, String)>,
}

impl Draft<'_> {
    fn variable(&self, key: &str) -> Option<(&'static str, String)> {
        let (name, _) = VARIABLES.iter().find(|(_, known)| *known == key)?;
        let (_, value) = self.environment.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then(|| (*name, value.clone()))
    }

    /// The value of a key by precedence, noted for printing.
    pub(super) fn pick(
        &mut self,
        key: &str,
        flag: Option<String>,
        file: Option<(String, &Path)>,
        default: Option<String>,
    ) -> Option<(String, Provenance)> {
        let found = if let Some(value) = flag {
            let name = key.rsplit('.').next().unwrap_or(key).replace('_', "-");
            Some((value, Provenance::Flag(format!("--{name}"))))
        } else if let Some((name, value)) = self.variable(key) {
            Some((value, Provenance::Environment(name.to_owned())))
        } else if let Some((value, path)) = file {
            Some((value, Provenance::File(path.display().to_string())))
        } else {
            default.map(|value| (value, Provenance::Default))
        };
        let (value, from) = found
            .clone()
            .map_or(("off".to_owned(), "default".to_owned()), |(value, from)| {
                (value, from.to_string())
            });
        self.printed.push((key.to_owned(), value, from));
        found
    }

    fn resolve(&mut self) -> Option<Resolved> {
        let config = self.pick("config", self.flags.config.as_ref().map(text), None, None);
        let (path, file, rest) = match config {
            Some((path, _)) => {
                let path = PathBuf::from(path);
                match read_file(&path) {
                    Ok((file, rest)) => (path, file, Some(rest)),
                    Err(problem) => {
                        self.problems.push(format!("{}: {problem}", path.display()));
                        return None;
                    }
                }
            }
            None => (PathBuf::new(), FileSettings::default(), None),
        };
        let core = self.core(&path, rest);
        let patterns = self.patterns(file.log_patterns.as_deref());
        let intervals = (self.flags.interval_secs, file.interval_secs);
        let interval = self.secs("interval_secs", intervals, &path, 1.0, &INTERVALS);
        let saves = (self.flags.save_interval_secs, file.save_interval_secs);
        let save_interval = self.secs("save_interval_secs", saves, &path, 60.0, &SAVE_INTERVALS);
        let listen = self.listen(&path, file.serve.listen.clone());
        let access = self.access(&path, &file);
        let state_file = self.state_file(&path, file.state_file.clone());
        let journal = self.journal(&path, file.log_file.clone());
        let alerts = self.alerts(&file);
        let plugin_folder = self.plugin_folder(&path, file.plugin_folder.clone());
        let tables = file.target.clone();
        let targets = self.targets(&path, file.target, interval, &patterns);
        let core = core?;
        let acting = self.acting(
            &path,
            file.acting,
            &core,
            state_file.as_deref(),
            &targets,
            &tables,
        );
        let plugins = PluginSettings::new(plugin_folder, &acting, targets.iter().any(|target| target.gpus));
        Some(Resolved {
            core,
            acting,
            plugins,
            targets,
            interval,
            listen,
            access,
            state_file,
            save_interval,
            journal,
            alerts,
            printed: std::mem::take(&mut self.printed),
        })
    }

    fn core(&mut self, path: &Path, rest: Option<String>) -> Option<Settings> {
        // The program monitors unless told not to; the library does not unless told to.
        let mut builder = Settings::builder().file("the program's default", "enable_monitoring = true");
        if let Some(rest) = rest {
            builder = builder.file(path.display().to_string(), rest);
        }
        let others = self
            .environment
            .iter()
            .filter(|(name, _)| !VARIABLES.iter().any(|(known, _)| known == name))
            .cloned();
        builder = builder.environment(others);
        for (key, value) in &self.flags.core {
            builder = builder.flag(key.clone(), value.clone());
        }
        match builder.resolve() {
            Ok(settings) => Some(settings),
            Err(vllm_monitor::Error::Settings(problems)) => {
                self.problems.extend(problems);
                None
            }
            Err(error) => {
                self.problems.push(error.to_string());
                None
            }
        }
    }

    fn patterns(&mut self, path: Option<&Path>) -> Arc<LogPatterns> {
        let Some(path) = path else {
            return Arc::new(LogPatterns::compiled_in());
        };
        let name = path.display().to_string();
        let read = std::fs::read_to_string(path)
            .map_err(|e| format!("log_patterns: {name}: {e}"))
            .and_then(|text| LogPatterns::with_overrides(&text, &name).map_err(|e| e.to_string()));
        Arc::new(read.unwrap_or_else(|problem| {
            self.problems.push(problem);
            LogPatterns::compiled_in()
        }))
    }

    /// A number of seconds within a range.
    fn secs(
        &mut self,
        key: &str,
        (flag, file): (Option<f64>, Option<f64>),
        path: &Path,
        default: f64,
        range: &std::ops::RangeInclusive<f64>,
    ) -> Duration {
        let flag = flag.map(|secs| secs.to_string());
        let file = file.map(|secs| (secs.to_string(), path));
        let picked = self.pick(key, flag, file, Some(default.to_string()));
        let (value, from) = picked.expect("it has a default");
        match value.parse::<f64>() {
            Ok(secs) if range.contains(&secs) => Duration::from_secs_f64(secs),
            _ => {
                self.problems.push(format!(
                    "{from}: {key} = {value}: {} to {} seconds is possible",
                    range.start(),
                    range.end()
                ));
                Duration::from_secs_f64(default)
            }
        }
    }

    fn listen(&mut self, path: &Path, file: Option<String>) -> Option<SocketAddr> {
        let file = file.map(|value| (value, path));
        let picked = self.pick(
            "serve.listen",
            self.flags.listen.clone(),
            file,
            Some(LISTEN.to_string()),
        );
        let (value, from) = picked.expect("it has a default");
        if value == "off" {
            return None;
        }
        let read = match value.parse::<u16>() {
            Ok(port) => Ok(SocketAddr::new(LISTEN.ip(), port)),
            Err(_) => value.parse(),
        };
        match read {
            Ok(address) => Some(address),
            Err(_) => {
                self.problems.push(format!(
                    "{from}: listen = {value}: an address such as {LISTEN}, a port, or `off` is possible"
                ));
                None
            }
        }
    }

    fn access(&mut self, path: &Path, file: &FileSettings) -> Access {
        let mut hosts = file.serve.allow_hosts.clone();
        hosts.extend(self.flags.allow_hosts.iter().cloned());
        self.printed.push((
            "serve.allow_hosts".to_owned(),
            format!("{hosts:?}"),
            "file and flags together".to_owned(),
        ));
        if let Ok(name) = nix::unistd::gethostname() {
            hosts.push(name.to_string_lossy().into_owned());
        }
        let file = file.serve.token_file.as_ref().map(|file| (text(file), path));
        let flag = self.flags.token_file.as_ref().map(text);
        let token = self
            .pick("serve.token_file", flag, file, None)
            .and_then(|(file, from)| self.secret(Path::new(&file), &format!("{from}: token_file")));
        Access { hosts, token }
    }

    /// The first line of a file that holds a secret.
    pub(super) fn secret(&mut self, path: &Path, what: &str) -> Option<String> {
        let problem = match std::fs::read_to_string(path) {
            Ok(text) => {
                let line = text.lines().next().unwrap_or_default().trim();
                if !line.is_empty() && line.len() <= LONGEST_SECRET {
                    return Some(line.to_owned());
                }
                format!("its first line is empty or longer than {LONGEST_SECRET} bytes")
            }
            Err(e) => e.to_string(),
        };
        self.problems
            .push(format!("{what}: {}: {problem}", path.display()));
        None
    }

    /// Where the state is kept unless told otherwise.
    pub(super) fn default_state_file(&self) -> Option<PathBuf> {
        state_keeper::default_path(|name| {
            let (_, value) = self.environment.iter().find(|(known, _)| known == name)?;
            Some(value.clone())
        })
    }

    fn state_file(&mut self, path: &Path, file: Option<String>) -> Option<PathBuf> {
        let default = self.default_state_file().map(|path| text(&path));
        let file = file.map(|value| (value, path));
        let picked = self.pick("state_file", self.flags.state_file.clone(), file, default);
        picked
            .map(|(value, _)| value)
            .filter(|value| value != "off")
            .map(PathBuf::from)
    }

    fn plugin_folder(&mut self, path: &Path, file: Option<String>) -> Option<PathBuf> {
        let file = file.map(|value| (value, path));
        let picked = self.pick("plugin_folder", self.flags.plugin_folder.clone(), file, None);
        let (folder, from) = picked.filter(|(value, _)| value != "off")?;
        let folder = PathBuf::from(folder);
        if !folder.is_dir() {
            self.problems.push(format!(
                "{from}: plugin_folder = {}: there is no such folder; create it, or set `off`",
                folder.display()
            ));
        }
        Some(folder)
    }

    fn journal(&mut self, path: &Path, file: Option<String>) -> Destination {
        let default = self.flags.default_log.clone().unwrap_or(Destination::Stdout);
        let default = match default {
            Destination::Off => "off".to_owned(),
            Destination::Stdout => "-".to_owned(),
            Destination::Stderr => "stderr".to_owned(),
            Destination::File(path) => text(&path),
        };
        let file = file.map(|value| (value, path));
        let picked = self.pick("log_file", self.flags.log_file.clone(), file, Some(default));
        let (value, _) = picked.expect("it has a default");
        match value.as_str() {
            "off" => Destination::Off,
            "-" => Destination::Stdout,
            "stderr" => Destination::Stderr,
            _ => Destination::File(PathBuf::from(value)),
        }
    }

    fn alerts(&mut self, file: &FileSettings) -> AlertSettings {
        let join = |file: &[String], flags: &[String]| -> Vec<String> {
            file.iter().chain(flags).cloned().collect()
        };
        let alerts = AlertSettings {
            webhooks: join(&file.alerts.webhooks, &self.flags.webhooks),
            alertmanagers: join(&file.alerts.alertmanagers, &self.flags.alertmanagers),
        };
        for (key, urls) in [
            ("alerts.webhooks", &alerts.webhooks),
            ("alerts.alertmanagers", &alerts.alertmanagers),
        ] {
            for url in urls {
                let is_http = url::Url::parse(url).is_ok_and(|url| url.scheme() == "http");
                if !is_http {
                    let shown = ShownUrl::from_text(url);
                    self.problems.push(format!(
                        "{key}: `{shown}`: only http:// URLs are supported, such as http://hooks.example/vllm"
                    ));
                }
            }
            self.printed.push((
                key.to_owned(),
                format!(
                    "{:?}",
                    urls.iter()
                        .map(|url| ShownUrl::from_text(url))
                        .collect::<Vec<_>>()
                ),
                "file and flags together".to_owned(),
            ));
        }
        alerts
    }

    fn targets(
        &mut self,
        path: &Path,
        tables: Vec<TargetTable>,
        interval: Duration,
        patterns: &Arc<LogPatterns>,
    ) -> Vec<TargetSpec> {
        let from_file = tables
            .into_iter()
            .map(|table| (table, None, format!("file {}", path.display())));
        let from_flags = self
            .flags
            .targets
            .iter()
            .map(|flags| (flags.table(), flags.api_key.clone(), "flag --url".to_owned()));
        let all: Vec<(TargetTable, Option<String>, String)> = from_file.chain(from_flags).collect();
        let mut names = BTreeSet::new();
        let mut targets = Vec::new();
        for (table, key, from) in all {
            let key = match &table.api_key_file {
                Some(path) => self.secret(path, &format!("{from}: {}: api_key_file", table.url)),
                None => key,
            };
            let endpoint = match Endpoint::parse(&table.url, key) {
                Ok(endpoint) => endpoint,
                Err(problem) => {
                    self.problems.push(format!("{from}: {problem}"));
                    continue;
                }
            };
            let name: Arc<str> = table.name.map_or_else(|| Arc::clone(endpoint.url()), Arc::from);
            if !names.insert(Arc::clone(&name)) {
                self.problems.push(format!(
                    "{from}: there are two targets `{name}`; give one another name"
                ));
                continue;
            }
            let canary = match table.canary_secs {
                Some(secs) if !CANARY_INTERVALS.contains(&secs) => {
                    self.problems.push(format!(
                        "{from}: {name}: canary_secs = {secs}: {} to {} is possible",
                        CANARY_INTERVALS.start(),
                        CANARY_INTERVALS.end()
                    ));
                    None
                }
                secs => secs.map(Duration::from_secs_f64),
            };
            self.printed
                .push((format!("target.{name}"), endpoint.url().to_string(), from));
            targets.push(TargetSpec {
                name,
                endpoint,
                pid: table.pid,
                log: table.log,
                model: table.model,
                interval,
                canary,
                gpus: table.gpus.unwrap_or(true),
                nvml_library: self.flags.nvml_library.clone(),
                patterns: Arc::clone(patterns),
            });
        }
        targets
    }
}

pub(super) fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

fn read_file(path: &Path) -> std::result::Result<(FileSettings, String), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    file::split(path, &text)
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
