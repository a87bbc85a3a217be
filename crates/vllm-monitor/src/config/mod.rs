//! Settings: read from files, environment and flags, and resolved once into final values.
//!
//! Precedence: flag, then environment, then file, then default. Every value records where it came from. Unknown keys
//! and invalid values are rejected, all in one error, each with its name and source.

mod parameters;
mod resolve;

use std::collections::BTreeMap;
use std::fmt;

pub use parameters::*;
pub use resolve::{ENVIRONMENT, FEATURES, SettingsBuilder};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// Compiled in.
    Default,
    /// A settings file, by its path.
    File(String),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Which parts of the monitor are on.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Enables monitoring where it is optional. Off by default; the program `vllm-monitor` turns it on.
    pub enable_monitoring: bool,
    /// Make forecasts. If off, states and events remain.
    pub enable_predictive: bool,
    /// Learn from outcomes. If off, the compiled-in tables are used unchanged.
    pub enable_learning: bool,
    /// Act on servers. Off by default; has no effect with a policy that only observes.
    pub enable_auto_mitigation: bool,
    /// Probability from which on an action may be considered, 0 to 1.
    pub mitigation_threshold: f64,
    /// Rate at which an acting policy learns, 0 to 1.
    pub learning_rate: f64,
    /// Where plugins are looked for.
    pub plugin_directory: Option<String>,
    /// Check before starting a server.
    pub prestartup_check: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
}

/// Everything resolved.
///
/// ```
/// use vllm_monitor::config::Settings;
///
/// let settings = Settings::builder()
///     .file("monitor.toml", "enable_learning = false\n[parameters.hang]\nfloor_secs = 20")
///     .environment([("VLLM_MONITOR_MITIGATION_THRESHOLD", "0.9")])
///     .resolve()?;
/// assert_eq!(settings.features.mitigation_threshold, 0.9);
/// assert_eq!(settings.parameters.hang.floor_secs, 20.0);
/// let line = "hang.floor_secs = 20  # file monitor.toml; seconds of silence that are never a hang; 1 to 3600\n";
/// assert!(settings.print().contains(line));
/// # Ok::<(), vllm_monitor::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What is on.
    pub features: Features,
    /// The numbers.
    pub parameters: Parameters,
    /// Version of the compiled-in parameters and tables, with `+` if any was changed.
    pub model_version: String,
    provenance: BTreeMap<&'static str, (String, Provenance)>,
}

impl Default for Settings {
    /// The compiled-in defaults.
    fn default() -> Self {
        Self::builder()
            .resolve()
            .expect("a test resolves the compiled-in defaults")
    }
}

impl Settings {
    /// Collects files, environment and flags.
    pub fn builder() -> SettingsBuilder {
        SettingsBuilder::default()
    }

    /// Every key with its value and where it came from, one a line, as a settings file would have it. Parameters also have
    /// their meaning, unit and range.
    pub fn print(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (key, (value, from)) in &self.provenance {
            let _infallible = write!(text, "{key} = {value}  # {from}");
            if let Some(known) = KEYS.iter().find(|known| known.name == *key) {
                let _infallible = write!(
                    text,
                    "; {}; {} to {}",
                    known.meaning.trim(),
                    known.smallest,
                    known.largest
                );
            }
            text.push('\n');
        }
        text
    }

    /// Where the value of a key came from.
    pub fn provenance(&self, key: &str) -> Option<&Provenance> {
        self.provenance.get(key).map(|(_, from)| from)
    }
}
