//! What a sampler is given: the run's clock, series ids, somewhere to put its rows, and a token that says stop.
//!
//! GPU, host and self-cost samplers are written against this trait and nothing else, so each runs the same into the
//! session's queue and into a `Vec` in a test. The session implements it over its bounded queue: a full queue drops
//! and counts, it never makes a sampler wait.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{EventRow, SampleBatch, SeriesDef, SeriesId};

/// Where one sampler thread puts what it measured.
pub trait SampleSink: Send {
    /// Now, in nanoseconds on the run's clock.
    fn now_ns(&self) -> i64;

    /// The id of a series, the same for equal definitions. Samplers keep the id: this may lock and allocate.
    fn intern(&mut self, def: SeriesDef) -> SeriesId;

    /// Hands over one tick. The sampler leaves `phase` empty, the sink fills it in. Never blocks.
    fn samples(&mut self, batch: SampleBatch);

    /// Hands over one event. Never blocks.
    fn event(&mut self, event: EventRow);

    /// A second sink into the same run, for a sampler's second thread.
    fn fork(&self) -> Box<dyn SampleSink>;
}

/// Tells sampler threads to stop, and wakes those that wait for their next tick. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct StopToken {
    state: Arc<(Mutex<bool>, Condvar)>,
}

impl StopToken {
    /// A token that has not been stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every holder to stop. Cannot be taken back.
    pub fn stop(&self) {
        let (stopped, wake) = &*self.state;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
    }

    /// Whether [`StopToken::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        *self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until `deadline` or until stopped, whichever is first; true if stopped.
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
