//! The policy of the program: passes each situation on and never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monitor_acting::{Situation, Time, adapter};
use tokio::sync::mpsc;
use vllm_monitor::policy::{self, Policy};
use vllm_monitor::{Decision, Snapshot};

/// What one step of the monitor found about a target.
#[derive(Debug)]
pub struct Observed {
    /// The situation.
    pub situation: Situation,
    /// What was observed, if plugins are in use.
    pub snapshot: Option<Box<Snapshot>>,
}

/// Forwards situations to the thread that decides. A full queue costs situations, which are counted.
#[derive(Debug)]
pub struct SituationForwarder {
    observed: mpsc::Sender<Observed>,
    horizon_secs: f64,
    with_snapshots: bool,
    dropped: Arc<AtomicU64>,
}

impl SituationForwarder {
    pub(super) fn new(
        observed: mpsc::Sender<Observed>,
        horizon_secs: f64,
        with_snapshots: bool,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        Self {
            observed,
            horizon_secs,
            with_snapshots,
            dropped,
        }
    }
}

impl Policy for SituationForwarder {
    fn decide(&self, seen: &policy::Situation<'_>) -> Vec<Decision> {
        let at = Time::from_millis(seen.snapshot.time.as_nanos().div_euclid(1_000_000));
        let observed = Observed {
            situation: adapter::situation(seen.snapshot, seen.target, at, self.horizon_secs, None),
            snapshot: self.with_snapshots.then(|| Box::new(seen.snapshot.clone())),
        };
        if self.observed.try_send(observed).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Decisions come from the other end, once they are made.
        Vec::new()
    }
}
