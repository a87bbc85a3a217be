//! The main loop beside LoadGen's thread: shows progress, and ends a run that cannot end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mlperf_loadgen::{Scenario, TestSettings};
use vllm_metrics::RunClock;

use super::progress::Progress;
use crate::harness::counters::Counters;
use crate::harness::{LoadGenResult, RunningTest};
use crate::plan::Plan;
use crate::server::Server;
use crate::shutdown::{Shutdown, ShutdownReason};

/// How often the main loop looks around.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long LoadGen may take to come to its own end after the run is being ended. With more of its schedule left than
/// this it is not waited for: it has no abort, and its summary would only be about failed queries.
const DRAIN: Duration = Duration::from_secs(10);
/// Longest wait for the last answers when LoadGen is given up: they are failures that are given at once.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What the main loop looks at while LoadGen runs.
pub(super) struct Watch<'a> {
    pub(super) test: &'a RunningTest,
    pub(super) shutdown: &'a Shutdown,
    pub(super) clock: &'a RunClock,
    pub(super) server: &'a Server,
    pub(super) plan: &'a Plan,
    pub(super) settings: &'a TestSettings,
    /// Queries that LoadGen will issue, where that is known.
    pub(super) expected: Option<u64>,
}

impl Watch<'_> {
    /// How long the server may give nothing at all while queries wait for it. An answer in one piece shows no sign of
    /// life before its end, which may take as long as a request may.
    fn silence_limit(&self) -> Duration {
        if self.plan.batch_size > 1 {
            self.plan.request_timeout.max(self.plan.stall_timeout)
        } else {
            self.plan.stall_timeout
        }
    }

    /// For how long LoadGen will go on with its schedule, where it has one.
    fn schedule_left(&self) -> Duration {
        if self.settings.scenario != Scenario::Server {
            return Duration::ZERO;
        }
        let issued = Counters::get(&self.test.counters.issued);
        let left = self
            .expected
            .map_or(0, |expected| expected.saturating_sub(issued));
        Duration::try_from_secs_f64(left as f64 / self.settings.server_target_qps).unwrap_or(Duration::MAX)
    }

    /// Waits for LoadGen's end, showing progress and watching for a run that cannot end. `None`: LoadGen was given
    /// up, with every query answered that it had handed over.
    pub(super) fn wait(&self, progress: &mut Progress) -> Option<LoadGenResult> {
        let counters = &self.test.counters;
        let mut quiet_since_ns = self.clock.now_ns();
        let mut give_up: Option<Instant> = None;
        loop {
            if let Some(result) = self.test.ended_within(LOOK_EVERY) {
                return Some(result);
            }
            progress.tick(counters);
            if self.shutdown.reason().is_some() {
                let deadline = *give_up.get_or_insert_with(|| self.patience());
                if Instant::now() >= deadline || self.shutdown.now.is_cancelled() {
                    return self.give_up();
                }
            } else if let Some(died) = self.server.has_died() {
                self.shutdown.begin(ShutdownReason::ServerGone(died.to_string()));
            } else if counters.outstanding() == 0 {
                quiet_since_ns = self.clock.now_ns();
            } else if counters.streaming.load(Ordering::Relaxed) == 0 {
                // Streams that flow have a limit of their own between two of their chunks.
                let last_ns = counters
                    .last_answer_ns
                    .load(Ordering::Relaxed)
                    .max(quiet_since_ns);
                let silent = Duration::from_nanos(u64::try_from(self.clock.now_ns() - last_ns).unwrap_or(0));
                let limit = self.silence_limit();
                if silent > limit {
                    self.shutdown.begin(ShutdownReason::Stalled(limit));
                }
            }
        }
    }

    /// Until when LoadGen's own end is waited for.
    fn patience(&self) -> Instant {
        let left = self.schedule_left();
        if left <= DRAIN {
            return Instant::now() + DRAIN;
        }
        tracing::warn!(
            "LoadGen has about {:.0} s of its schedule left and no way to stop; it is given up",
            left.as_secs_f64()
        );
        Instant::now()
    }

    /// Lets LoadGen issue nothing more and waits until all that it has issued is answered.
    fn give_up(&self) -> Option<LoadGenResult> {
        self.test.close_gate();
        let deadline = Instant::now() + LAST_ANSWERS;
        while self.test.counters.outstanding() > 0 && Instant::now() < deadline {
            // It may have been about to end by itself.
            if let Some(result) = self.test.ended_within(Duration::from_millis(5)) {
                return Some(result);
            }
        }
        None
    }
}
