//! Drives one engine in wall time: a thread that sleeps to the end of each step and hands its tokens out at once.
//!
//! There is one wake-up per step, however many streams there are. Tokens leave in one batch per HTTP thread through
//! a bounded queue: when the HTTP side cannot keep up, the engine waits for it instead of filling memory.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::config::EngineConfig;
use crate::engine::{Engine, EngineStats, Nanos, Output, Plan, Request, RequestId};

/// Batches an engine may be ahead of an HTTP thread.
pub(crate) const QUEUE_BATCHES: usize = 16;
/// A sleep is cut into pieces of at most this, so that a stop is noticed inside a long step.
const LONGEST_NAP: Duration = Duration::from_millis(100);
/// A step that ends later than planned starts the next one at its planned end, so that the model's pace holds; past
/// this lag the plan is given up and time is lost, as on a server that was stopped for a while.
const MOST_LAG: Duration = Duration::from_millis(20);

/// Monotonic nanoseconds since the simulator's start, and the wall time they started at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    origin_wall: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
            origin_wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    pub(crate) fn now(self) -> Nanos {
        self.origin.elapsed().as_nanos() as Nanos
    }

    /// Wall time of a moment on this clock, in seconds since the epoch.
    pub(crate) fn wall_secs(self, at: Nanos) -> f64 {
        (self.origin_wall + Duration::from_nanos(at)).as_secs_f64()
    }
}

/// The part of a route that names the HTTP thread.
pub(crate) fn route_thread(route: u64) -> usize {
    (route >> 48) as usize
}

/// Limits of admission, shared by all engines of a server.
#[derive(Debug)]
pub(crate) struct Admission {
    max_requests: usize,
    max_prefill_tokens: u64,
    requests: AtomicUsize,
    prefill_tokens: AtomicU64,
    rejections: [AtomicU64; 2],
}

impl Admission {
    pub(crate) fn new(max_requests: Option<u32>, max_prefill_tokens: Option<u64>) -> Self {
        Self {
            max_requests: max_requests.map_or(usize::MAX, |n| n as usize),
            max_prefill_tokens: max_prefill_tokens.unwrap_or(u64::MAX),
            requests: AtomicUsize::new(0),
            prefill_tokens: AtomicU64::new(0),
            rejections: Default::default(),
        }
    }

    /// True if `requests` more with `tokens` prompt tokens may enter; a refusal is counted under its limit.
    pub(crate) fn admits(&self, requests: usize, tokens: u64) -> bool {
        let met = if self.requests.load(Ordering::Relaxed).saturating_add(requests) > self.max_requests {
            0
        } else if self.prefill_tokens.load(Ordering::Relaxed).saturating_add(tokens) > self.max_prefill_tokens
        {
            1
        } else {
            return true;
        };
        self.rejections[met].fetch_add(1, Ordering::Relaxed);
        false
    }

    pub(crate) fn rejections(&self) -> [u64; 2] {
        [
            self.rejections[0].load(Ordering::Relaxed),
            self.rejections[1].load(Ordering::Relaxed),
        ]
    }

    fn entered(&self, prompt: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.prefill_tokens.fetch_add(prompt, Ordering::Relaxed);
    }

    fn prefilled(&self, prompt: u64) {
        self.prefill_tokens.fetch_sub(prompt, Ordering::Relaxed);
    }

    fn left(&self, requests: usize) {
        self.requests.fetch_sub(requests, Ordering::Relaxed);
    }
}

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
            self.admission.left(1);
            if !dropped.has_first_token {
                self.admission.prefilled(dropped.prompt_tokens);
            }
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

    pub(crate) fn set_paused(&self, paused: bool) {
        self.lock().set_paused(paused);
        self.wake.notify_one();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.lock().is_paused()
    }

    /// Lets steps take this share of their time.
    pub(crate) fn set_slow(&self, percent: u32) {
        self.lock().set_slow(percent);
    }

    /// Freezes the engine where it is: requests enter, nothing leaves, gauges keep their values.
    pub(crate) fn set_hung(&self, hung: bool) {
        self.hung.store(hung, Ordering::Release);
        // Taken so that the engine's thread cannot check the flag and miss this wake-up in between.
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
            let now = self.clock.now();
            let start = if now.saturating_sub(planned_end) > MOST_LAG.as_nanos() as Nanos {
                now
            } else {
                planned_end
            };
            // A request may have come since the planned end; no step starts before what it computes has arrived.
            let start = start.max(engine.last_arrival());
            let plan = if self.hung.load(Ordering::Acquire) {
                Plan::Idle
            } else {
                engine.begin_step(start)
            };
            let end = match plan {
                Plan::Step { end } => end,
                // Checked under the lock: whoever sets it takes the lock before waking this thread.
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
            // An instant step still ends no earlier than it is seen to.
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
            for (batch, sink) in batches.iter_mut().zip(sinks) {
                if !batch.is_empty() && sink.blocking_send(std::mem::take(batch)).is_err() {
                    return;
                }
            }
        }
    }

    fn sleep_until(&self, end: Nanos) -> bool {
        loop {
            if self.stopping() {
                return false;
            }
            // A hang in the middle of a step holds its tokens back.
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
        // A panic while it was held leaves counts that may be off by one step: still better than no page at all.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
