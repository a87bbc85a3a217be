//! The interface of samplers to a run: its clock, series ids, a destination for rows, and a stop token.
//!
//! GPU, host and self-cost samplers use only this trait, so they run the same with the session's queue and
//! with a `Vec` in a test. The session implements it on its bounded queue: a full queue drops and counts, and
//! never blocks a sampler.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{EventRow, SampleBatch, SeriesDef, SeriesId};

/// Destination of one sampler thread's measurements.
pub trait SampleSink: Send {
    /// Now, in nanoseconds on the run's clock.
    fn now_ns(&self) -> i64;

    /// Returns the id of a series, the same for equal definitions. May lock and allocate: keep the id.
    fn intern(&mut self, def: SeriesDef) -> SeriesId;

    /// Publishes one tick. The sampler leaves `phase` empty; the sink sets it. Never blocks.
    fn samples(&mut self, batch: SampleBatch);

    /// Publishes one event. Never blocks.
    fn event(&mut self, event: EventRow);

    /// Returns a second sink into the same run, for a sampler's second thread.
    fn fork(&self) -> Box<dyn SampleSink>;
}

/// Signals sampler threads to stop, and wakes those waiting for their next tick. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct StopToken {
    state: Arc<(Mutex<bool>, Condvar)>,
}

impl StopToken {
    /// A token that has not been stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Signals all holders to stop. Cannot be undone.
    pub fn stop(&self) {
        let (stopped, wake) = &*self.state;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
    }

    /// Whether [`StopToken::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        *self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until `deadline` or until stopped, whichever comes first; returns true if stopped.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        let (stopped, wake) = &*self.state;
        let mut guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*guard {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            guard = wake
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_its_deadline_or_at_once_when_stopped() {
        let token = StopToken::new();
        assert!(!token.wait_until(Instant::now()));
        let waiter = std::thread::spawn({
            let token = token.clone();
            move || token.wait_until(Instant::now() + Duration::from_secs(60))
        });
        token.stop();
        assert!(waiter.join().unwrap());
        assert!(token.is_stopped());
    }
}
