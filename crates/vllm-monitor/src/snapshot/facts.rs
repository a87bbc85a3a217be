//! Facts of a snapshot that are not series: probes, the process, the log, requests of our own.

use super::{Canary, Exit, Http, Log, OwnRequests, Probe, SCHEMA, Snapshot, SnapshotBuilder};
use crate::log::LogMark;
use crate::{Signal, Time};

/// Kept as they were given.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) health: Option<Probe>,
    pub(super) metrics: Option<Probe>,
    pub(super) model_listed: Option<(bool, Time)>,
    pub(super) paused: Option<(bool, Time)>,
    pub(super) scaling: Option<(bool, Time)>,
    pub(super) alive: Option<(bool, Time)>,
    pub(super) exit: Option<Exit>,
    pub(super) stop_requested: bool,
    pub(super) max_running: Option<f64>,
    pub(super) max_queued: Option<f64>,
    pub(super) max_model_len: Option<f64>,
    pub(super) log_followed: bool,
    pub(super) marks: Vec<LogMark>,
    pub(super) own: OwnRequests,
    pub(super) canary: Canary,
}

impl SnapshotBuilder {
    /// A probe of `/health`.
    pub fn health(&mut self, probe: Probe) {
        self.facts.health = Some(probe);
    }

    /// How reading `/metrics` went.
    pub fn metrics_probe(&mut self, probe: Probe) {
        self.facts.metrics = Some(probe);
    }

    /// Whether `/v1/models` lists the model.
    pub fn model_listed(&mut self, listed: bool, at: Time) {
        self.facts.model_listed = Some((listed, at));
    }

    /// What `/is_paused` says.
    pub fn paused(&mut self, paused: bool, at: Time) {
        self.facts.paused = Some((paused, at));
    }

    /// Whether an answer said that the server is changing its size.
    pub fn scaling(&mut self, scaling: bool, at: Time) {
        self.facts.scaling = Some((scaling, at));
    }

    /// Whether the server's process exists. A new process clears what is known of the old one's end.
    pub fn process_alive(&mut self, alive: bool, at: Time) {
        if alive {
            self.facts.exit = None;
        }
        self.facts.alive = Some((alive, at));
    }

    /// How the server's process ended.
    pub fn process_exit(&mut self, exit: Exit) {
        self.facts.exit = Some(exit);
        self.facts.alive = Some((false, exit.at));
    }

    /// Whether the server was asked to stop, by us or by someone we know of.
    pub fn stop_requested(&mut self, requested: bool) {
        self.facts.stop_requested = requested;
    }

    /// Limits from the server's arguments, as far as they are known.
    pub fn limits(
        &mut self,
        max_running: Option<f64>,
        max_queued: Option<f64>,
        max_model_len_tokens: Option<f64>,
    ) {
        self.facts.max_running = max_running;
        self.facts.max_queued = max_queued;
        self.facts.max_model_len = max_model_len_tokens;
    }

    /// The log is being read.
    pub fn log_followed(&mut self) {
        self.facts.log_followed = true;
    }

    /// A line of the log that means something.
    pub fn log_mark(&mut self, mark: LogMark) {
        self.facts.marks.push(mark);
    }

    /// Our own requests.
    pub fn own(&mut self, own: OwnRequests) {
        self.facts.own = own;
    }

    /// The monitor's canary.
    pub fn canary(&mut self, canary: Canary) {
        self.facts.canary = canary;
    }

    pub(super) fn fill_facts(&mut self, snapshot: &mut Snapshot, now: Time) {
        let ages = self.stale_after;
        let facts = &mut self.facts;
        let probe = |probe: Option<Probe>, longest: f64| match probe {
            Some(probe) => Signal::aged(probe, now.secs_since(probe.at), longest),
            None => Signal::default(),
        };
        let fact = |fact: Option<(bool, Time)>, longest: f64| match fact {
            Some((value, at)) => Signal::aged(value, now.secs_since(at), longest),
            None => Signal::default(),
        };
        let config = |value: Option<(f64, Time)>, absent: Signal<f64>| match value {
            // What the cache is like does not age while its server lives.
            Some((value, at)) => Signal::fresh(value, now.secs_since(at)),
            None => absent,
        };
        let limit = |value: Option<f64>| value.map_or(Signal::default(), |value| Signal::fresh(value, 0.0));
        let engine = &mut snapshot.engine;
        engine.sampled_at = self.page_at;
        engine.kv_capacity_tokens = config(self.kv_capacity_tokens, engine.kv_capacity_tokens);
        engine.kv_block_tokens = config(self.kv_block_tokens, engine.kv_block_tokens);
        engine.max_running = limit(facts.max_running);
        engine.max_queued = limit(facts.max_queued);
        engine.max_model_len_tokens = limit(facts.max_model_len);
        engine.missing.clone_from(&self.missing);
        snapshot.http = Http {
            health: probe(facts.health, ages.probe_secs),
            metrics: probe(facts.metrics, ages.probe_secs),
            model_listed: fact(facts.model_listed, ages.probe_secs * 6.0),
            paused: fact(facts.paused, ages.probe_secs),
            scaling: fact(facts.scaling, ages.probe_secs),
            version: self.version.clone(),
            ..std::mem::take(&mut snapshot.http)
        };
        snapshot.process.alive = fact(facts.alive, ages.sampler_secs);
        snapshot.process.exit = facts.exit;
        snapshot.process.stop_requested = facts.stop_requested;
        snapshot.log = Log {
            followed: facts.log_followed,
            marks: std::mem::take(&mut facts.marks),
        };
        snapshot.own = facts.own.clone();
        snapshot.canary = facts.canary.clone();
        debug_assert_eq!(snapshot.schema, SCHEMA);
    }
}
