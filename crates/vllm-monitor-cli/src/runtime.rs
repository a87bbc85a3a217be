//! Everything that runs: targets, journal, endpoint, notifications and saves, started and ended together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vllm_metrics::RunClock;
use vllm_monitor::{Monitor, policy};

use crate::error::Result;
use crate::hub::Hub;
use crate::journal::{Journal, Level};
use crate::keeper::Keeper;
use crate::serve::{App, Server};
use crate::settings::Resolved;
use crate::target::{Note, Target};

/// Time between saves of what was learned.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// A monitor that runs. [`Runtime::finish`] saves and ends it.
#[derive(Debug)]
pub struct Runtime {
    hub: Arc<Hub>,
    targets: BTreeMap<Arc<str>, Target>,
    server: Option<Server>,
    keeper: Option<Arc<Keeper>>,
    saving: Option<tokio::task::JoinHandle<()>>,
    journal: Journal,
    warnings: Vec<String>,
}

impl Runtime {
    /// Starts to observe every target of the settings.
    ///
    /// # Errors
    /// What could not be opened or bound.
    pub async fn start(settings: Resolved) -> Result<Self> {
        Self::start_with(settings, Box::new(policy::ObserveOnly)).await
    }

    /// The same with a policy that may act.
    ///
    /// # Errors
    /// As [`Runtime::start`].
    pub async fn start_with(settings: Resolved, policy: Box<dyn policy::Policy>) -> Result<Self> {
        let opened = Keeper::open(settings.state_file.as_deref());
        let level = Level::from_word(&settings.core.features.log_level);
        let monitor = Monitor::with_policy(settings.core, policy);
        let hub = Arc::new(Hub::new(monitor, opened.state, RunClock::start()));
        let journal = Journal::start(&settings.journal, level, &hub)?;
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
                };
                Some(Server::start(address, app).await?)
            }
            None => None,
        };
        let saving = opened
            .keeper
            .clone()
            .map(|keeper| tokio::spawn(save_regularly(keeper, Arc::clone(&hub))));
        Ok(Self {
            hub,
            targets,
            server,
            keeper: opened.keeper,
            saving,
            journal,
            warnings: opened.warning.into_iter().collect(),
        })
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
            journal,
            warnings: _,
        } = self;
        drop((targets, server));
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
    }
}

async fn save_regularly(keeper: Arc<Keeper>, hub: Arc<Hub>) {
    loop {
        tokio::time::sleep(SAVE_INTERVAL).await;
        let (keeper, hub) = (Arc::clone(&keeper), Arc::clone(&hub));
        let saved = tokio::task::spawn_blocking(move || keeper.save(&hub));
        if saved.await.is_err() {
            return;
        }
    }
}
