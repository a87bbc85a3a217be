//! Acts on targets: the guardrails, the choice and the audit of `monitor-acting`, run by this program.
//!
//! ```text
//!  Monitor::step ─► forwarder (policy) ─► [plugins] ─► work: Actor::step ─► one queue per target ─► shell::carry_out
//!                                                     │                                            │
//!                                        view: /status, /recommendations                 audit, then servers
//! ```
//!
//! All of it runs on a thread of its own, so that a slow disk or a slow restart delays no observation. By default the
//! mode is observe: it reports what it would do.

mod settings;
mod situation_forwarder;
mod view;
mod work;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use monitor_acting::actuate::Actuators;
use monitor_acting::audit::Audit;
use monitor_acting::guard::{Breaker, FileLeases, LeaseStore, MemoryLeases, Mode};
use monitor_acting::shell::{AuditedActor, lock};
use monitor_acting::store::MemoryFile;
use monitor_acting::strategy::Strategies;
use monitor_acting::{Actor, ActorConfig, Memory, Target, Time};
use tokio::sync::mpsc;

pub use settings::{ActingSettings, ActingTarget};
pub use situation_forwarder::{Observed, SituationForwarder};
pub use view::{ActingStatus, ActionInEffect, ActionStatus, Advice, Best, Recommended};

use crate::error::{Error, Result};
use crate::hub::Hub;

/// Situations that wait to be decided on; further ones are dropped and counted.
const QUEUE: usize = 1024;
/// Longest wait for actions under way at the end.
const LAST_ACTIONS: Duration = Duration::from_secs(5);

/// The part that acts, while it runs.
#[derive(Debug)]
pub struct Acting {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

/// What its thread and the routes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) audited: Mutex<AuditedActor>,
    pub(crate) settings: ActingSettings,
    pub(crate) hub: Arc<Hub>,
    pub(crate) status: Mutex<ActingStatus>,
    /// The kill switch as set by its route; the file counts in addition.
    pub(crate) killed: AtomicBool,
    /// Situations that were dropped, since too many waited.
    pub(crate) dropped: Arc<AtomicU64>,
}

impl Shared {
    /// Now, on the clock of the acting core.
    pub(crate) fn now(&self) -> Time {
        Time::from_millis(self.hub.clock().now_ns().div_euclid(1_000_000))
    }
}

/// The policy to give to the monitor, and what it leads to.
#[derive(Debug)]
pub struct Prepared {
    settings: ActingSettings,
    observed: mpsc::Receiver<Observed>,
    dropped: Arc<AtomicU64>,
}

/// Both ends of a stage between the monitor and the part that decides.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) incoming: mpsc::Receiver<Observed>,
    pub(crate) outgoing: mpsc::Sender<Observed>,
    /// Situations that were dropped, since too many waited.
    pub(crate) dropped: Arc<AtomicU64>,
}

impl Prepared {
    /// A policy that forwards situations, with their snapshots if a stage needs them, and the other end of its queue.
    pub fn new(settings: ActingSettings, with_snapshots: bool) -> (SituationForwarder, Self) {
        let (sender, observed) = mpsc::channel(QUEUE);
        let dropped: Arc<AtomicU64> = Arc::default();
        let forwarder = SituationForwarder::new(
            sender,
            settings.horizon_secs,
            with_snapshots,
            Arc::clone(&dropped),
        );
        let prepared = Self {
            settings,
            observed,
            dropped,
        };
        (forwarder, prepared)
    }

    /// Inserts a stage, which passes every situation on.
    pub(crate) fn insert_stage(&mut self) -> Stage {
        let (outgoing, observed) = mpsc::channel(QUEUE);
        Stage {
            incoming: std::mem::replace(&mut self.observed, observed),
            outgoing,
            dropped: Arc::clone(&self.dropped),
        }
    }
}

impl Acting {
    /// Opens memory, audit and leases, and starts to decide. Also returns what the user should know.
    ///
    /// # Errors
    /// If the audit or the leases cannot be opened although actions are turned on: it would not be safe to act.
    pub fn start(prepared: Prepared, hub: Arc<Hub>) -> Result<(Self, Vec<String>)> {
        let Prepared {
            settings,
            observed,
            dropped,
        } = prepared;
        let mut warnings = Vec::new();
        let now = Time::from_millis(hub.clock().now_ns().div_euclid(1_000_000));
        let acts = settings.limits.mode == Mode::Act;
        let failed = |problem: String| Error::Settings(vec![format!("acting: {problem}")]);
        if acts && let Some(folder) = &settings.folder {
            std::fs::create_dir_all(folder).map_err(|source| Error::File {
                path: folder.clone(),
                source,
            })?;
        }
        let store = settings.state_file().map(MemoryFile::new);
        let memory = restore(store.as_ref(), now, &mut warnings);
        let audit = match settings.audit_file() {
            Some(path) if acts => Some(Audit::open(path, now)?),
            _ => None,
        };
        let leases: Box<dyn LeaseStore + Send> = match &settings.lease_folder {
            Some(folder) if acts => Box::new(FileLeases::new(folder)?),
            _ => Box::new(MemoryLeases::default()),
        };
        let leases = work::ByUrl::new(leases, &settings);
        if acts && settings.limits.allow.is_empty() {
            warnings.push(
                "enable_auto_mitigation is on, but no action is enabled: name some in acting.allow"
                    .to_owned(),
            );
        }
        let config = ActorConfig {
            holder: Arc::clone(&settings.holder),
            seed: settings.seed(),
            limits: settings.limits.clone(),
            learning: settings.learning,
            ..ActorConfig::default()
        };
        let targets = settings.targets.iter().map(|(name, target)| Target {
            restart_owner: target.restart_owner.clone(),
            excluded: target.excluded,
            ..Target::new(Arc::clone(name), Arc::clone(&target.kind))
        });
        let actor = Actor::new(
            config,
            Strategies::new(settings.catalogue.clone()),
            memory,
            targets,
            now,
        );
        let reaches = settings.targets.iter();
        let actuators = Actuators::new(reaches.map(|(name, t)| (Arc::clone(name), t.reach())).collect())
            .map_err(failed)?;
        let shared = Arc::new(Shared {
            audited: Mutex::new(AuditedActor { actor, audit }),
            settings,
            hub,
            status: Mutex::default(),
            killed: AtomicBool::new(false),
            dropped,
        });
        view::refresh(&shared);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let worker = work::Worker::new(Arc::clone(&shared), actuators, leases, store);
        let thread = std::thread::Builder::new()
            .name("acting".to_owned())
            .spawn(move || worker.run(observed, stopped))
            .map_err(|source| Error::System {
                what: "no thread for acting",
                source,
            })?;
        let acting = Self {
            shared,
            thread: Some(thread),
            stop: Some(stop),
        };
        Ok((acting, warnings))
    }

    /// What the routes need of it.
    pub fn handle(&self) -> ActingHandle {
        ActingHandle(Arc::clone(&self.shared))
    }

    /// Ends it. Actions in effect stay until their time is over; the next start goes on with them.
    pub async fn finish(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn restore(store: Option<&MemoryFile>, now: Time, warnings: &mut Vec<String>) -> Memory {
    let Some(store) = store else {
        return Memory::default();
    };
    let (mut memory, problem) = store.load_or_set_aside();
    if let Some(problem) = problem {
        // Whether the breaker was tripped is unknown.
        memory.breaker = Breaker::default();
        memory.breaker.trip(now, format!("{problem}; it was set aside"));
        warnings.push(format!(
            "{problem}; it was set aside, and the breaker is tripped: check what happened, then reset it with \
             POST /control/reset-breaker"
        ));
    }
    memory
}

/// Access to the acting part for routes. Its calls may wait for a disk; use them outside of an async runtime's threads.
#[derive(Debug, Clone)]
pub struct ActingHandle(Arc<Shared>);

impl ActingHandle {
    /// What it does now. Never waits.
    pub fn status(&self) -> ActingStatus {
        let mut status = self
            .0
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        status.dropped_situations = self.0.dropped.load(Ordering::Relaxed);
        status
    }

    /// Recommended actions and learned rules.
    pub fn advice(&self, target: Option<&str>, failure: Option<&str>) -> Advice {
        view::advice(&self.0, target, failure)
    }

    /// Turns the kill switch on or off.
    pub fn set_kill_switch(&self, on: bool) {
        self.0.killed.store(on, Ordering::Relaxed);
        work::follow_kill_switch(&self.0);
        view::refresh(&self.0);
    }

    /// Resets a tripped breaker.
    ///
    /// # Errors
    /// If it cannot be recorded: the breaker then stays tripped. If the memory cannot be saved: it is reset only until the
    /// next restart.
    pub fn reset_breaker(&self) -> std::result::Result<(), String> {
        let mut not_saved = None;
        let mut audited = lock(&self.0.audited);
        if audited.actor.memory().breaker.is_tripped() {
            let text = "the breaker was reset by hand".to_owned();
            if audited.audit.is_some() {
                audited.record(self.0.now(), &monitor_acting::audit::Record::Note { text })?;
            }
            audited.actor.reset_breaker();
            not_saved = work::save(&self.0.settings, audited.actor.memory());
        }
        drop(audited);
        view::refresh(&self.0);
        not_saved.map_or(Ok(()), |problem| {
            Err(format!(
                "the breaker is reset until the next restart only: the memory cannot be saved: {problem}"
            ))
        })
    }
}
