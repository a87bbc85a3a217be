//! The main loop during a test: shows progress, and ends a run that cannot end by itself.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mlperf_loadgen::{Scenario, TestSettings};
use vllm_metrics::RunClock;

use super::progress::Progress;
use super::wall_clock::WallClock;
use crate::harness::counters::Counters;
use crate::harness::{LoadGenResult, RunningTest};
use crate::plan::Plan;
use crate::server::Server;
use crate::shutdown::{Shutdown, ShutdownReason};

/// Interval of the main loop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long to wait for LoadGen to end after the run is being ended. If its remaining schedule is longer, it
/// is not awaited: it has no abort, and its summary would only cover failed queries.
const DRAIN: Duration = Duration::from_secs(10);
/// Longest wait for the last answers when LoadGen is given up; they are failures that are sent at once.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What the main loop monitors while LoadGen runs.
pub(super) struct Watch<'a> {
    pub(super) test: &'a RunningTest,
    pub(super) shutdown: &'a Shutdown,
    pub(super) clock: &'a RunClock,
    pub(super) server: &'a Server,
    pub(super) plan: &'a Plan,
    pub(super) settings: &'a TestSettings,
    /// Queries that LoadGen will issue, if known.
    pub(super) expected: Option<u64>,
}

impl Watch<'_> {
    /// How long the server may send nothing while queries are outstanding. An unstreamed answer arrives only
    /// at its end, which may take as long as the request timeout.
    fn silence_limit(&self) -> Duration {
        if self.plan.batch_size > 1 {
            self.plan.request_timeout.max(self.plan.stall_timeout)
        } else {
            self.plan.stall_timeout
        }
    }

    /// How much of its schedule LoadGen has left, if it has one.
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

    /// Waits for LoadGen's end, showing progress and watching for a run that cannot end. `None`: LoadGen was
    /// given up, after every query that it had issued was answered.
    pub(super) fn wait(&self, progress: &mut Progress) -> Option<LoadGenResult> {
        let counters = &self.test.counters;
        let elapsed_ns = || self.clock.now_ns() - self.clock.started_ns();
        let mut quiet_since_ns = elapsed_ns();
        let mut give_up: Option<Instant> = None;
        let mut wall_clock = WallClock::start();
        loop {
            if let Some(result) = self.test.ended_within(LOOK_EVERY) {
                return Some(result);
            }
            progress.tick();
            let step = wall_clock.look();
            if self.shutdown.reason().is_some() {
                let deadline = *give_up.get_or_insert_with(|| self.patience());
                if Instant::now() >= deadline || self.shutdown.now.is_cancelled() {
                    return self.give_up();
                }
            } else if let Some(step_ns) = step {
                self.shutdown.begin(ShutdownReason::ClockStepped { step_ns });
            } else if let Some(died) = self.server.has_died() {
                self.shutdown.begin(ShutdownReason::ServerGone(died.to_string()));
            } else if counters.outstanding() == 0 {
                quiet_since_ns = elapsed_ns();
            } else if counters.streaming.load(Ordering::Relaxed) == 0 {
                // Active streams have their own limit on the time between two chunks.
                let last_ns = counters
                    .last_answer_ns
                    .load(Ordering::Relaxed)
                    .max(quiet_since_ns);
                let silent = Duration::from_nanos(u64::try_from(elapsed_ns() - last_ns).unwrap_or(0));
                let limit = self.silence_limit();
                if silent > limit {
                    self.shutdown.begin(ShutdownReason::Stalled(limit));
                }
            }
        }
    }

    /// Until when to wait for LoadGen to end.
    fn patience(&self) -> Instant {
        let left = self.schedule_left();
        if matches!(self.shutdown.reason(), Some(ShutdownReason::ClockStepped { .. })) {
            tracing::warn!("LoadGen schedules by the wall clock and has no way to stop; it is given up");
            return Instant::now();
        }
        if left <= DRAIN {
            return Instant::now() + DRAIN;
        }
        tracing::warn!(
            "LoadGen has about {:.0} s of its schedule left and no way to stop; it is given up",
            left.as_secs_f64()
        );
        Instant::now()
    }

    /// Stops LoadGen from issuing queries and waits until all issued ones are answered.
    fn give_up(&self) -> Option<LoadGenResult> {
        self.test.close_gate();
        let deadline = Instant::now() + LAST_ANSWERS;
        while self.test.counters.outstanding() > 0 && Instant::now() < deadline {
            // LoadGen may just have ended by itself.
            if let Some(result) = self.test.ended_within(Duration::from_millis(5)) {
                return Some(result);
            }
        }
        None
    }
}
