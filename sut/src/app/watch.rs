//! The main loop beside LoadGen's thread: shows progress, and ends a run that cannot end.

use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use mlperf_loadgen::RunReport;
use vllm_metrics::RunClock;

use crate::counters::Counters;
use crate::ending::{Cause, Ending};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::server::Server;

/// How often the main loop looks around.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long LoadGen may go on with its schedule after the run is being ended.
const DRAIN: Duration = Duration::from_secs(20);

/// What the main loop looks at while LoadGen runs.
pub(super) struct Watch<'a> {
    pub(super) counters: &'a Counters,
    pub(super) ending: &'a Ending,
    pub(super) clock: &'a RunClock,
    pub(super) server: &'a Server,
    pub(super) plan: &'a Plan,
}

/// How LoadGen's thread ended.
pub(crate) type LoadGenResult = Result<RunReport, mlperf_loadgen::Error>;

impl Watch<'_> {
    /// Every single request has limits of its own, so silence for longer than the longest of them is a bug somewhere;
    /// before that, a long answer may simply be streaming.
    fn silence_limit(&self) -> Duration {
        self.plan.request_timeout.max(self.plan.stall_timeout) + DRAIN
    }

    /// Waits for LoadGen's end, showing progress and watching for a run that cannot end. `None`: LoadGen was given
    /// up.
    pub(super) fn wait(
        &self,
        test_done: &std::sync::mpsc::Receiver<LoadGenResult>,
        progress: &mut Progress,
    ) -> Option<LoadGenResult> {
        let mut quiet_since_ns = self.clock.now_ns();
        let mut give_up: Option<Instant> = None;
        loop {
            match test_done.recv_timeout(LOOK_EVERY) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Err(mlperf_loadgen::Error::LoadGen("its thread panicked".into())));
                }
            }
            progress.tick(self.counters);
            if self.ending.cause().is_some() {
                let deadline = *give_up.get_or_insert_with(|| Instant::now() + DRAIN);
                if Instant::now() >= deadline || self.ending.now.is_cancelled() {
                    return None;
                }
            } else if let Some(died) = self.server.has_died() {
                self.ending.end(Cause::ServerGone(died.to_string()));
            } else if self.counters.outstanding() == 0 {
                quiet_since_ns = self.clock.now_ns();
            } else {
                let last_ns = self
                    .counters
                    .last_answer_ns
                    .load(Ordering::Relaxed)
                    .max(quiet_since_ns);
                let silent = Duration::from_nanos(u64::try_from(self.clock.now_ns() - last_ns).unwrap_or(0));
                let limit = self.silence_limit();
                if silent > limit {
                    self.ending.end(Cause::Stalled(limit));
                }
            }
        }
    }
}
