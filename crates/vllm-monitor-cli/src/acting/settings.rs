//! Settings of the part that acts, resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use monitor_acting::Capability;
use monitor_acting::actuate::{Hook, Reach, RestartFn, Secret};
use monitor_acting::arm::Catalogue;
use monitor_acting::guard::Limits;

/// Longest run of a restart command.
const RESTART_LIMIT: Duration = Duration::from_secs(600);

/// Everything about acting.
#[derive(Debug, Clone)]
pub struct ActingSettings {
    /// The guardrails. The defaults permit nothing.
    pub limits: Limits,
    /// The actions.
    pub catalogue: Catalogue,
    /// Identity of this monitor.
    pub holder: Arc<str>,
    /// Whether outcomes affect later choices.
    pub learning: bool,
    /// Folder of memory and audit; nothing is kept if not set.
    pub folder: Option<PathBuf>,
    /// The audit, if it is not in the folder.
    pub audit: Option<PathBuf>,
    /// Folder of leases that monitors of the same targets share.
    pub lease_folder: Option<PathBuf>,
    /// While this file exists, nothing is done, and what was done is taken back.
    pub kill_switch_file: Option<PathBuf>,
    /// Horizon of the monitor's alarms, in seconds.
    pub horizon_secs: f64,
    /// The targets.
    pub targets: BTreeMap<Arc<str>, ActingTarget>,
}

/// What may be done to one target, and how.
#[derive(Clone)]
pub struct ActingTarget {
    /// Its URL.
    pub url: Arc<str>,
    /// Its kind, such as `gpu` or `cpu`: part of what is learned.
    pub kind: Arc<str>,
    /// Excluded from all actions.
    pub excluded: bool,
    /// Another program that restarts the server.
    pub restart_owner: Option<String>,
    /// The server's API key.
    pub api_key: Option<Secret>,
    /// Token of the levers.
    pub token: Option<Secret>,
    /// A command that restarts the server.
    pub restart_command: Vec<String>,
    /// Restarts the server, where this program is its parent.
    pub restart: Option<RestartFn>,
    /// Hooks for scaling and failing over.
    pub hooks: BTreeMap<String, Hook>,
    /// Capabilities that cannot be detected and are confirmed by the user.
    pub confirmed: BTreeSet<Capability>,
}

impl std::fmt::Debug for ActingTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActingTarget")
            .field("kind", &self.kind)
            .field("excluded", &self.excluded)
            .field("restart_owner", &self.restart_owner)
            .field("reach", &self.reach())
            .finish()
    }
}

impl ActingSettings {
    /// The state that survives a restart.
    pub fn state_file(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("memory"))
    }

    /// The audit.
    pub fn audit_file(&self) -> Option<PathBuf> {
        let usual = || Some(self.folder.as_ref()?.join("audit.jsonl"));
        self.audit.clone().or_else(usual)
    }

    /// The random seed: another one for each monitor, so that several do not choose in step.
    pub(super) fn seed(&self) -> u64 {
        self.holder.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

impl ActingTarget {
    /// How actuators reach it.
    pub(super) fn reach(&self) -> Reach {
        let command = (!self.restart_command.is_empty()).then(|| by_command(self.restart_command.clone()));
        Reach {
            api_key: self.api_key.clone(),
            token: self.token.clone(),
            restart: self.restart.clone().or(command),
            hooks: self.hooks.clone(),
            confirmed: self.confirmed.clone(),
            ..Reach::new(self.url.to_string())
        }
    }
}

/// Restarts by a command of the user, such as `systemctl restart vllm`. It succeeds if its status is 0.
fn by_command(words: Vec<String>) -> RestartFn {
    Arc::new(move |arguments| {
        let words = words.clone();
        Box::pin(async move {
            if !arguments.is_empty() {
                return Err("a restart command cannot change the server's arguments".to_owned());
            }
            let (program, rest) = words.split_first().ok_or("the restart command is empty")?;
            let running = tokio::process::Command::new(program)
                .args(rest)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .status();
            match tokio::time::timeout(RESTART_LIMIT, running).await {
                Ok(Ok(status)) if status.success() => Ok(()),
                Ok(Ok(status)) => Err(format!("`{program}` ended with {status}")),
                Ok(Err(e)) => Err(format!("`{program}` cannot be started: {e}")),
                Err(_) => Err(format!("`{program}` did not end within {RESTART_LIMIT:?}")),
            }
        })
    })
}
