//! One task per server: collects what the sources report and evaluates a snapshot at each tick.

mod sources;
mod watched;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use vllm_monitor::Time;
use vllm_monitor::log::LogPatterns;
use vllm_monitor::snapshot::{CanaryResult, Exit, OwnRequests};

use crate::hub::Hub;
use crate::probe::{Answer, Endpoint};
use sources::{Shared, canaries, health, log, pages, slow_routes};
use watched::Watched;

/// Reports that wait for one target's task. Sources wait when it is full.
const QUEUE: usize = 256;

/// One server to observe.
#[derive(Debug, Clone)]
pub struct TargetSpec {
    /// Its name in labels and files.
    pub name: Arc<str>,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its first process, if given.
    pub pid: Option<u32>,
    /// Its log file.
    pub log: Option<PathBuf>,
    /// The model that it should serve; any if none is given.
    pub model: Option<String>,
    /// Time between snapshots, probes and pages.
    pub interval: Duration,
    /// Time between canaries; none if not given.
    pub canary: Option<Duration>,
    /// Read the GPUs of a server on this machine.
    pub gpus: bool,
    /// Another driver library than the system's.
    pub nvml_library: Option<PathBuf>,
    /// Patterns of its log.
    pub patterns: Arc<LogPatterns>,
}

/// What a source reports.
#[derive(Debug)]
pub enum Note {
    /// An answer of `/health`.
    Health(Answer),
    /// An answer of `/metrics`.
    Page(Answer),
    /// Whether the model is listed, and the longest sequence.
    Models(bool, Option<f64>, Time),
    /// Whether scheduling is paused.
    Paused(bool, Time),
    /// The server's version.
    Version(String),
    /// A line of the log.
    Line(String),
    /// The log is read, or why it is not.
    Log(Result<(), String>),
    /// A canary was sent.
    CanarySent(Time),
    /// A canary ended.
    CanaryDone(CanaryResult, Time),
    /// The server's process ended, as its parent saw it.
    Exit(Exit),
    /// The server's process, as its parent started it.
    Started(u32),
    /// Someone asked the server to stop, or withdrew it.
    StopRequested(bool),
    /// Requests of our own that are in flight.
    Own(OwnRequests),
}

/// A target's task.
#[derive(Debug)]
pub struct Target {
    notes: mpsc::Sender<Note>,
    task: tokio::task::JoinHandle<()>,
}

impl Target {
    /// Starts to observe.
    pub fn spawn(spec: TargetSpec, hub: Arc<Hub>) -> Self {
        let (notes, received) = mpsc::channel(QUEUE);
        hub.add(&spec.name, spec.endpoint.url());
        let task = tokio::spawn(observe(spec, hub, notes.clone(), received));
        Self { notes, task }
    }

    /// Where a parent or a harness reports what it knows of the server.
    pub fn notes(&self) -> mpsc::Sender<Note> {
        self.notes.clone()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn observe(
    spec: TargetSpec,
    hub: Arc<Hub>,
    notes: mpsc::Sender<Note>,
    mut received: mpsc::Receiver<Note>,
) {
    let mut sources = JoinSet::new();
    // Targets start at different moments of an interval, so that many of them do not probe at once.
    let offset = spec.interval.mul_f64(spread(&spec.name));
    let shared = Arc::new(Shared {
        spec: spec.clone(),
        hub: Arc::clone(&hub),
        notes,
        served: Mutex::default(),
    });
    sources.spawn(health(Arc::clone(&shared), offset));
    sources.spawn(pages(Arc::clone(&shared), offset));
    sources.spawn(slow_routes(Arc::clone(&shared), offset));
    if let Some(path) = spec.log.clone() {
        sources.spawn(log(Arc::clone(&shared), path));
    }
    if let Some(every) = spec.canary {
        sources.spawn(canaries(Arc::clone(&shared), every));
    }
    let mut watched = Watched::new(spec, hub);
    let mut tick = interval_at(Instant::now() + offset, watched.spec.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last_tick = Instant::now() + offset;
    loop {
        let sampled = async {
            match &mut watched.samplers {
                Some((_, sampled)) => sampled.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(note) = received.recv() => {
                if watched.take(note) {
                    watched.step();
                }
            }
            sampled = sampled => match sampled {
                Some(sampled) => watched.sampled(sampled),
                // Both samplers have ended; the host's never does by itself.
                None => watched.samplers = None,
            },
            now = tick.tick() => {
                let missed = now.duration_since(last_tick).as_secs_f64() / watched.spec.interval.as_secs_f64();
                watched.counts.missed_ticks += (missed.round() as u64).saturating_sub(1);
                last_tick = now;
                watched.look_at_process();
                // A server that runs already looks like one that starts until its first answer.
                if watched.health.is_some() || watched.has_parent {
                    watched.step();
                }
            }
        }
    }
}

/// From 0 to 1, by the name.
fn spread(name: &str) -> f64 {
    let hash = name.bytes().fold(2_166_136_261_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
    });
    f64::from(hash) / f64::from(u32::MAX)
}
