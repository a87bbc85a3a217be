//! The policy of the program: passes each situation on and never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monitor_acting::{Situation, Time, adapter};
use tokio::sync::mpsc;
use vllm_monitor::Decision;
use vllm_monitor::policy::{self, Policy};

/// Forwards situations to the thread that decides. A full queue costs situations, which are counted.
#[derive(Debug)]
pub struct SituationForwarder {
    situations: mpsc::Sender<Situation>,
    horizon_secs: f64,
    dropped: Arc<AtomicU64>,
}

impl SituationForwarder {
    pub(super) fn new(
        situations: mpsc::Sender<Situation>,
        horizon_secs: f64,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        Self {
            situations,
            horizon_secs,
            dropped,
        }
    }
}

impl Policy for SituationForwarder {
    fn decide(&self, seen: &policy::Situation<'_>) -> Vec<Decision> {
        let at = Time::from_millis(seen.snapshot.time.as_nanos().div_euclid(1_000_000));
        let situation = adapter::situation(seen.snapshot, seen.target, at, self.horizon_secs, None);
        if self.situations.try_send(situation).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Decisions come from the other end, once they are made.
        Vec::new()
    }
}
