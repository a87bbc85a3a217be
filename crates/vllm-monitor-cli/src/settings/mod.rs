//! The program's settings: flags, then environment, then file, then default; resolved once, with all problems together.
//!
//! The core's own keys (`enable_predictive`, `[parameters]`, …) stand in the same file and are resolved by the core.

mod acting;
mod file;
mod resolve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use vllm_monitor::config::Settings;

pub use resolve::{Flags, TargetFlags, VARIABLES};

use crate::acting::ActingSettings;
use crate::journal::Destination;
use crate::plugins::PluginSettings;
use crate::serve::Access;
use crate::target::TargetSpec;

/// Everything resolved.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The core's settings.
    pub core: Settings,
    /// What to observe.
    pub targets: Vec<TargetSpec>,
    /// Time between snapshots.
    pub interval: Duration,
    /// Where to listen; nowhere if not set.
    pub listen: Option<SocketAddr>,
    /// Who may ask.
    pub access: Access,
    /// Where what was learned is kept; not kept if not set.
    pub state_file: Option<PathBuf>,
    /// Time between saves of it.
    pub save_interval: Duration,
    /// Where events go.
    pub journal: Destination,
    /// Where alerts go besides.
    pub alerts: AlertSettings,
    /// What may be done to targets.
    pub acting: ActingSettings,
    /// Plugins.
    pub plugins: PluginSettings,
    /// Each of the program's own keys with its value and source, for `--print-config`.
    printed: Vec<(String, String, String)>,
}

/// Where alerts go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertSettings {
    /// URLs that receive each alert as JSON.
    pub webhooks: Vec<String>,
    /// Base URLs of Alertmanagers.
    pub alertmanagers: Vec<String>,
}

impl Resolved {
    /// Every key with its value and where it came from, one a line.
    pub fn print(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (key, value, from) in &self.printed {
            let _infallible = writeln!(text, "{key} = {value}  # {from}");
        }
        text + self.core.print().as_str()
    }
}
