//! One request: its attempts, the pauses between them, and when it is given up.

use std::time::{Duration, Instant};

use super::{Attempt, Pool, Slot};
use crate::StreamError;

/// Longest pause before an attempt.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One request's attempts so far.
pub(super) struct Attempts<'a, F> {
    pool: &'a Pool,
    pub(super) failed: Vec<Attempt>,
    pause: Duration,
    /// When the first attempt began; the request's limit counts from here.
    pub(super) begun_at: Instant,
    on_retry: F,
}

/// What follows an attempt.
pub(super) enum Settled<T> {
    /// It succeeded, at this replica.
    Done(usize, T),
    /// It failed and was the last.
    Failed(Attempt),
    /// It failed, and another follows after this pause.
    Again(Duration),
}

impl<'a, F: FnMut(&Attempt)> Attempts<'a, F> {
    pub(super) fn new(pool: &'a Pool, on_retry: F) -> Self {
        Self {
            pool,
            failed: Vec::new(),
            pause: pool.retry.first_pause.min(LONGEST_PAUSE),
            begun_at: Instant::now(),
            on_retry,
        }
    }

    pub(super) fn settle<T>(
        &mut self,
        slot: Slot<'_>,
        started_at: Instant,
        result: Result<T, StreamError>,
    ) -> Settled<T> {
        let (pool, replica) = (self.pool, slot.replica);
        pool.note(replica, result.as_ref().err());
        drop(slot);
        let error = match result {
            Ok(done) => return Settled::Done(replica, done),
            Err(error) => error,
        };
        let attempt = Attempt {
            replica,
            url: pool.clients[replica].url().to_owned(),
            started_at,
            took: started_at.elapsed(),
            error,
        };
        let attempts = u32::try_from(self.failed.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let left = pool.clients[replica]
            .config
            .timeouts
            .request
            .saturating_sub(self.begun_at.elapsed());
        // With other replicas there is no need to wait for this one: it is skipped meanwhile.
        let asked = match pool.clients.len() {
            1 => attempt.error.retry_after().unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let wait = self.pause.max(asked);
        if attempts >= pool.retry.max_attempts || !attempt.error.is_retryable() || left <= wait {
            return Settled::Failed(attempt);
        }
        tracing::debug!(url = %attempt.url, error = %attempt.error, attempts, "sending a request again");
        (self.on_retry)(&attempt);
        self.failed.push(attempt);
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        Settled::Again(wait)
    }
}
