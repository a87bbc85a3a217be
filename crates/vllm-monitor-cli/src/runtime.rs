//! Everything that runs: targets, journal, endpoint, notifications and saves, started and ended together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vllm_metrics::RunClock;
use vllm_monitor::Monitor;

use crate::acting::{Acting, ActingHandle, Prepared};
use crate::error::Result;
use crate::hub::Hub;
use crate::journal::{Journal, Level};
use crate::notify::{Notifiers, Systemd, Watch};
use crate::plugins::{PluginHandle, Plugins};
use crate::serve::{App, Server};
use crate::settings::Resolved;
use crate::state_keeper::StateKeeper;
use crate::target::{Note, Target};

/// A monitor that runs. [`Runtime::finish`] saves and ends it.
#[derive(Debug)]
pub struct Runtime {
    hub: Arc<Hub>,
    targets: BTreeMap<Arc<str>, Target>,
    server: Option<Server>,
    keeper: Option<Arc<StateKeeper>>,
    saving: Option<tokio::task::JoinHandle<()>>,
    acting: Acting,
    plugins: Plugins,
    journal: Journal,
    notifiers: Notifiers,
    interval: Duration,
    systemd: Option<tokio::task::JoinHandle<()>>,
    warnings: Vec<String>,
}

impl Runtime {
    /// Starts to observe every target of the settings, and to act on those where it is turned on.
    ///
    /// # Errors
    /// What could not be opened or bound.
    pub async fn start(settings: Resolved) -> Result<Self> {
        let opened = StateKeeper::open(settings.state_file.as_deref());
        let level = Level::from_word(&settings.core.features.log_level);
        let (forwarder, mut prepared) = Prepared::new(settings.acting, settings.plugins.folder.is_some());
        let monitor = Monitor::with_policy(settings.core, Box::new(forwarder));
        let hub = Arc::new(Hub::new(monitor, opened.state, RunClock::start()));
        let journal = Journal::start(&settings.journal, level, &hub)?;
        let plugins = Plugins::start(&settings.plugins, &settings.alerts.webhooks, &mut prepared, &hub)?;
        let (acting, mut warnings) = Acting::start(prepared, Arc::clone(&hub))?;
        warnings.extend(opened.warning);
        let notifiers = Notifiers::start(&settings.alerts, &hub)?;
        let targets: BTreeMap<Arc<str>, Target> = settings
            .targets
            .into_iter()
            .map(|spec| (Arc::clone(&spec.name), Target::spawn(spec, Arc::clone(&hub))))
            .collect();
        let server = match settings.listen {
            Some(address) => {
                let notes = targets
                    .iter()
                    .map(|(name, target)| (Arc::clone(name), target.notes()))
                    .collect();
                let app = App {
                    hub: Arc::clone(&hub),
                    access: Arc::new(settings.access),
                    interval: settings.interval,
                    notes: Arc::new(notes),
                    acting: acting.handle(),
                    plugins: plugins.handle(),
                };
                Some(Server::start(address, app).await?)
            }
            None => None,
        };
        let saving = opened
            .keeper
            .clone()
            .map(|keeper| tokio::spawn(save_regularly(keeper, Arc::clone(&hub), settings.save_interval)));
        Ok(Self {
            hub,
            targets,
            server,
            keeper: opened.keeper,
            saving,
            journal,
            notifiers,
            interval: settings.interval,
            systemd: None,
            acting,
            plugins,
            warnings,
        })
    }

    /// Tells systemd how the service is, if systemd started this process and wants to know.
    pub fn follow_for_systemd(&mut self, watch: Watch) {
        if let Some(systemd) = Systemd::from_environment(|name| std::env::var(name).ok()) {
            let following = systemd.follow(Arc::clone(&self.hub), self.interval, watch);
            self.systemd = Some(tokio::spawn(following));
        }
    }

    /// The core and what is known.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Where a target takes reports.
    pub fn notes(&self, target: &str) -> Option<mpsc::Sender<Note>> {
        self.targets.get(target).map(Target::notes)
    }

    /// The part that acts.
    pub fn acting(&self) -> ActingHandle {
        self.acting.handle()
    }

    /// The plugins.
    pub fn plugins(&self) -> PluginHandle {
        self.plugins.handle()
    }

    /// What the user should know about the start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Ends everything, saves what was learned, and waits until the journal is written.
    pub async fn finish(self) {
        let Self {
            hub,
            targets,
            server,
            keeper,
            saving,
            acting,
            plugins,
            journal,
            notifiers,
            interval: _,
            systemd,
            warnings: _,
        } = self;
        drop((targets, server));
        let messages = plugins.finish().await;
        acting.finish().await;
        if let Some(systemd) = systemd {
            systemd.abort();
        }
        if let Some(saving) = saving {
            saving.abort();
            let _aborted = saving.await;
        }
        let last = tokio::task::spawn_blocking(move || {
            if let Some(keeper) = keeper {
                keeper.save(&hub);
            }
            hub.close();
            journal.join();
        });
        let _ended = last.await;
        notifiers.finish().await;
        messages.finish().await;
    }
}

async fn save_regularly(keeper: Arc<StateKeeper>, hub: Arc<Hub>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let (keeper, hub) = (Arc::clone(&keeper), Arc::clone(&hub));
        let saved = tokio::task::spawn_blocking(move || keeper.save(&hub));
        if saved.await.is_err() {
            return;
        }
    }
}
