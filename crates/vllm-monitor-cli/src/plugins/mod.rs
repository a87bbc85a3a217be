//! Plugins of a folder, added, edited and removed while this program runs.
//!
//! ```text
//!  Monitor::step ─► situation and snapshot ─► Host::tick ─► situation with findings and vetoes ─► acting
//!                                                 └─► /status, /metrics, events
//!  folder ─► reload ─► events                alerts ─► notify(e) ─► events, webhooks
//! ```
//!
//! Plugins run on a thread of their own, and the folder is read on another one, so that neither delays observation. A
//! finding adds to the evidence of a failure; alone, it permits no action.

mod deliver;
mod view;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monitor_acting::guard::Mode;
use monitor_plugins::{Host, HostConfig, Tick};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use deliver::Messages;
pub use view::{PluginStatus, PluginsStatus, TargetResults};

use crate::acting::{ActingSettings, Prepared};
use crate::error::{Error, Result};
use crate::hub::Hub;

/// Time between looks at the folder.
const RELOAD_INTERVAL: Duration = Duration::from_millis(500);
/// A file that was written more recently than this may still be incomplete.
const SETTLE: Duration = Duration::from_millis(200);

/// Which plugins to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginSettings {
    /// Their folder; no plugins if not set.
    pub folder: Option<PathBuf>,
    /// What manifests may need: `acting`, `gpu`.
    pub capabilities: BTreeSet<String>,
}

impl PluginSettings {
    /// With the capabilities that follow from other settings.
    pub fn new(folder: Option<PathBuf>, acting: &ActingSettings, reads_gpus: bool) -> Self {
        let acts = acting.limits.mode == Mode::Act;
        let capabilities = [("acting", acts), ("gpu", reads_gpus)]
            .into_iter()
            .filter(|(_, holds)| *holds)
            .map(|(name, _)| name.to_owned())
            .collect();
        Self { folder, capabilities }
    }
}

/// The running plugins.
#[derive(Debug)]
pub struct Plugins {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    /// Stops the threads when it is dropped.
    stop: DropGuard,
    threads: Vec<std::thread::JoinHandle<()>>,
    messages: Messages,
}

/// What the threads and the routes share.
#[derive(Debug)]
struct Shared {
    host: Host,
    hub: Arc<Hub>,
    /// The newest results of each target.
    latest: Mutex<BTreeMap<Arc<str>, Tick>>,
    edits: Mutex<Edits>,
}

/// What came of the folder's files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Edits {
    accepted: u64,
    refused: u64,
    /// Why the folder cannot be read.
    problem: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plugins {
    /// Loads the plugins of the folder, if one is set, and puts them between the monitor and the part that decides.
    /// A plugin that cannot be used is reported and does not run.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn start(
        settings: &PluginSettings,
        webhooks: &[String],
        prepared: &mut Prepared,
        hub: &Arc<Hub>,
    ) -> Result<Self> {
        let Some(folder) = &settings.folder else {
            return Ok(Self { running: None });
        };
        let config = HostConfig {
            capabilities: settings.capabilities.clone(),
            settle: SETTLE,
            ..HostConfig::default()
        };
        let shared = Arc::new(Shared {
            host: Host::new(folder, config),
            hub: Arc::clone(hub),
            latest: Mutex::default(),
            edits: Mutex::default(),
        });
        let changes = shared
            .host
            .try_reload()
            .map_err(|e| Error::Settings(vec![format!("plugin_folder: {e}")]))?;
        shared.changed(&changes);
        let messages = Messages::start(&shared, webhooks)?;
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Handle::current();
        let stage = prepared.insert_stage();
        let ticking = {
            let (shared, stop, runtime) = (Arc::clone(&shared), stop.clone(), runtime.clone());
            thread("plugins", move || {
                runtime.block_on(work::tick(&shared, stage, &stop));
            })?
        };
        let reloading = {
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            thread("plugin-reload", move || {
                runtime.block_on(work::reload(&shared, &stop));
            })?
        };
        Ok(Self {
            running: Some(Running {
                shared,
                stop: stop.drop_guard(),
                threads: vec![ticking, reloading],
                messages,
            }),
        })
    }

    /// What the routes need of them.
    pub fn handle(&self) -> PluginHandle {
        PluginHandle(self.running.as_ref().map(|running| Arc::clone(&running.shared)))
    }

    /// Ends them. Returns the deliveries that are still under way; they end once the hub is closed.
    pub async fn finish(self) -> Messages {
        let Some(running) = self.running else {
            return Messages::default();
        };
        drop(running.stop);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in running.threads {
                let _ended = thread.join();
            }
        });
        let _ended = joined.await;
        running.messages
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|source| Error::System {
            what: "no thread for plugins",
            source,
        })
}

/// Access to the plugins for routes.
#[derive(Debug, Clone)]
pub struct PluginHandle(Option<Arc<Shared>>);

impl PluginHandle {
    /// The plugins and their newest results. Never waits for a plugin.
    pub fn status(&self) -> PluginsStatus {
        self.0.as_deref().map(Shared::status).unwrap_or_default()
    }
}
