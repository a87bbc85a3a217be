//! Drives one engine in wall time: a thread that sleeps to the end of each step and then delivers its tokens.
//!
//! There is one wake-up per step, independent of the number of streams. Tokens are sent in one batch per HTTP
//! thread through a bounded queue: when the HTTP side cannot keep up, the engine waits for it instead of
//! filling memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::EngineConfig;
use crate::engine::{
    Dropped, Engine, EngineStats, InFlight, Nanos, Output, PauseMode, Plan, Request, RequestId,
};
use crate::levers::LeverState;

/// Batches that an engine may be ahead of an HTTP thread.
pub(crate) const QUEUE_BATCHES: usize = 16;
/// A sleep is cut into pieces of at most this length, so that a stop is noticed during a long step.
const LONGEST_NAP: Duration = Duration::from_millis(100);
/// If a step ends later than planned, the next one starts at the planned end, so that the model's pace holds.
/// Beyond this lag the plan is abandoned and time is lost, as on a server that was stopped for a while.
const MOST_LAG: Duration = Duration::from_millis(20);

/// The part of a route that names the HTTP thread.
pub(crate) fn route_thread(route: u64) -> usize {
    (route >> 48) as usize
}

/// The engines of the server's current life; empty between two lives.
pub(crate) type Engines = Arc<Mutex<Vec<Arc<EngineHandle>>>>;

/// One engine, shared by its thread and the HTTP threads.
#[derive(Debug)]
pub(crate) struct EngineHandle {
    engine: Mutex<Engine>,
    wake: Condvar,
    stop: AtomicBool,
    hung: AtomicBool,
    /// Time in which a step was running, for the simulated GPU.
    busy_ns: AtomicU64,
    clock: Clock,
    admission: Arc<Admission>,
}

impl EngineHandle {
    pub(crate) fn new(config: EngineConfig, clock: Clock, admission: Arc<Admission>) -> Self {
        Self {
            engine: Mutex::new(Engine::new(config)),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            hung: AtomicBool::new(false),
            busy_ns: AtomicU64::new(0),
            clock,
            admission,
        }
    }

    /// Queues a request and wakes the engine if it was idle.
    pub(crate) fn submit(&self, request: Request) -> RequestId {
        self.admission.entered(request.prompt.len() as u64);
        let mut engine = self.lock();
        let was_idle = engine.unfinished() == 0;
        let id = engine.submit(self.clock.now(), request);
        drop(engine);
        if was_idle {
            self.wake.notify_one();
        }
        id
    }

    /// Drops a request whose client went away.
    pub(crate) fn abort(&self, id: RequestId) {
        if let Some(dropped) = self.lock().abort(id) {
            self.account(dropped);
        }
    }

    /// Ends requests from the server's side; returns how many were unfinished.
    pub(crate) fn end_by_abort(&self, ids: &[RequestId]) -> usize {
        let mut engine = self.lock();
        let dropped: Vec<Dropped> = ids.iter().filter_map(|&id| engine.end_by_abort(id)).collect();
        drop(engine);
        self.wake.notify_one();
        dropped.iter().for_each(|dropped| self.account(*dropped));
        dropped.len()
    }

    /// Unfinished requests, in no particular order.
    pub(crate) fn in_flight(&self) -> Vec<InFlight> {
        self.lock().in_flight()
    }

    /// Ends every unfinished request from the server's side; returns how many there were.
    pub(crate) fn end_all_by_abort(&self) -> usize {
        let ids: Vec<RequestId> = self.in_flight().iter().map(|request| request.id).collect();
        self.end_by_abort(&ids)
    }

    fn account(&self, dropped: Dropped) {
        self.admission.left(1);
        if !dropped.has_first_token {
            self.admission.prefilled(dropped.prompt_tokens);
        }
    }

    /// Unfinished requests now.
    pub(crate) fn unfinished(&self) -> usize {
        self.lock().unfinished()
    }

    /// A copy of the counts, taken between two steps.
    pub(crate) fn stats(&self) -> EngineStats {
        self.lock().stats().clone()
    }

    /// Time in which a step was running, since the engine's start.
    pub(crate) fn busy_ns(&self) -> u64 {
        self.busy_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn reset_prefix_cache(&self) -> bool {
        self.lock().reset_prefix_cache()
    }

    /// Stops planning. With [`PauseMode::Abort`] the requests in flight end; with [`PauseMode::Wait`] the pause begins
    /// when they have ended.
    pub(crate) fn pause(&self, mode: PauseMode) {
        self.lock().pause(mode);
        if mode == PauseMode::Abort {
            self.end_all_by_abort();
        }
        self.wake.notify_one();
    }

    pub(crate) fn resume(&self) {
        self.lock().resume();
        self.wake.notify_one();
    }

    /// Gives up weights and KV cache, as vLLM's sleep levels 1 and 2.
    pub(crate) fn fall_asleep(&self, level: u8) {
        self.lock().fall_asleep(level);
    }

    /// Preempts every running request.
    pub(crate) fn preempt_all(&self) {
        self.lock().preempt_all();
    }

    pub(crate) fn wake_up(&self, weights: bool, kv_cache: bool) {
        self.lock().wake_up(weights, kv_cache);
        self.wake.notify_one();
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.lock().is_asleep()
    }

    pub(crate) fn set_levers(&self, levers: LeverState) {
        self.lock().set_levers(levers);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.lock().is_paused()
    }

    /// Scales the duration of steps by this factor.
    pub(crate) fn set_slow(&self, percent: u32) {
        self.lock().set_slow(percent);
    }

    /// Freezes the engine: requests enter, no tokens leave, gauges keep their values.
    pub(crate) fn set_hung(&self, hung: bool) {
        self.hung.store(hung, Ordering::Release);
        // Locked so that the engine's thread cannot miss this wake-up between checking the flag and waiting.
        drop(self.lock());
        self.wake.notify_one();
    }

    /// Asks the thread to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        drop(self.lock());
        self.wake.notify_one();
    }

    /// The body of the engine's thread. Ends after [`EngineHandle::stop`], or when an HTTP thread is gone.
    pub(crate) fn run(&self, sinks: &[mpsc::Sender<Vec<Output>>]) {
        let mut batches: Vec<Vec<Output>> = sinks.iter().map(|_| Vec::new()).collect();
        let mut planned_end: Nanos = 0;
        while !self.stopping() {
            let mut engine = self.lock();
            let aborted = engine.take_aborted();
            if !aborted.is_empty() {
                drop(engine);
                if !send(aborted, &mut batches, sinks) {
                    return;
                }
                continue;
            }
            let now = self.clock.now();
            let start = if now.saturating_sub(planned_end) > MOST_LAG.as_nanos() as Nanos {
                now
            } else {
                planned_end
            };
            // A request may have arrived since the planned end; no step starts before the requests it
            // computes have arrived.
            let start = start.max(engine.last_arrival());
            let plan = if self.hung.load(Ordering::Acquire) {
                Plan::Idle
            } else {
                engine.begin_step(start)
            };
            let end = match plan {
                Plan::Step { end } => end,
                // Checked under the lock: the flag is set before the lock is taken to wake this thread.
                _ if self.stopping() => return,
                Plan::Idle => {
                    drop(self.wake.wait(engine).unwrap_or_else(PoisonError::into_inner));
                    planned_end = self.clock.now();
                    continue;
                }
                Plan::Wait { until } => {
                    let nap = Duration::from_nanos(until.saturating_sub(self.clock.now()));
                    drop(
                        self.wake
                            .wait_timeout(engine, nap)
                            .unwrap_or_else(PoisonError::into_inner),
                    );
                    planned_end = self.clock.now();
                    continue;
                }
            };
            drop(engine);
            if !self.sleep_until(end) {
                return;
            }
            // Even an instant step ends no earlier than the present.
            planned_end = if end > start { end } else { self.clock.now() };
            self.busy_ns
                .fetch_add(planned_end.saturating_sub(start), Ordering::Relaxed);
            let (mut left, mut prefilled) = (0, 0);
            self.lock().finish_step(planned_end, |output, prompt_tokens| {
                left += usize::from(output.finish.is_some());
                prefilled += prompt_tokens;
                if let Some(batch) = batches.get_mut(route_thread(output.route)) {
                    batch.push(output);
                }
            });
            self.admission.left(left);
            self.admission.prefilled(prefilled);
            if !send([], &mut batches, sinks) {
                return;
            }
        }
    }

    fn sleep_until(&self, end: Nanos) -> bool {
        loop {
            if self.stopping() {
                return false;
            }
            // A hang in the middle of a step delays its tokens.
            if self.hung.load(Ordering::Acquire) {
                let engine = self.lock();
                drop(
                    self.wake
                        .wait_timeout(engine, LONGEST_NAP)
                        .unwrap_or_else(PoisonError::into_inner),
                );
                continue;
            }
            let now = self.clock.now();
            if now >= end {
                return true;
            }
            std::thread::sleep(Duration::from_nanos(end - now).min(LONGEST_NAP));
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        // A panic while the lock was held leaves counts that may be off by one step, which is better than no
        // page.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the batches and `more` to the HTTP threads; false if one of them is gone.
fn send(
    more: impl IntoIterator<Item = Output>,
    batches: &mut [Vec<Output>],
    sinks: &[mpsc::Sender<Vec<Output>>],
) -> bool {
    for output in more {
        if let Some(batch) = batches.get_mut(route_thread(output.route)) {
            batch.push(output);
        }
    }
    batches
        .iter_mut()
        .zip(sinks)
        .all(|(batch, sink)| batch.is_empty() || sink.blocking_send(std::mem::take(batch)).is_ok())
}
