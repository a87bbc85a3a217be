//! Delivery statistics of sent samples.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Delivery statistics so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendStats {
    /// Requests that the receiver accepted.
    pub requests_sent: u64,
    /// Samples in them.
    pub samples_sent: u64,
    /// Attempts that failed and were followed by another.
    pub retries: u64,
    /// Samples in requests that were rejected or given up.
    pub samples_failed: u64,
    /// Samples dropped because the queue was full or the receiver's format does not support them.
    pub samples_dropped: u64,
    /// The last error from the receiver or the network.
    pub last_error: Option<String>,
}

impl SendStats {
    /// Whether the receiver got every sample.
    pub fn is_complete(&self) -> bool {
        self.samples_failed == 0 && self.samples_dropped == 0
    }
}

impl fmt::Display for SendStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} samples in {} requests",
            self.samples_sent, self.requests_sent
        )?;
        if !self.is_complete() {
            write!(
                f,
                "; {} samples were refused or given up, {} dropped",
                self.samples_failed, self.samples_dropped
            )?;
        }
        match &self.last_error {
            Some(error) => write!(f, "; the last error: {error}"),
            None => Ok(()),
        }
    }
}

/// Reads the statistics during the run and after it.
#[derive(Debug, Clone, Default)]
pub struct SendMonitor {
    pub(super) counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests_sent: AtomicU64,
    pub(super) samples_sent: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) samples_failed: AtomicU64,
    samples_dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl SendMonitor {
    /// Returns the current statistics.
    pub fn stats(&self) -> SendStats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SendStats {
            requests_sent: get(&self.counts.requests_sent),
            samples_sent: get(&self.counts.samples_sent),
            retries: get(&self.counts.retries),
            samples_failed: get(&self.counts.samples_failed),
            samples_dropped: get(&self.counts.samples_dropped),
            last_error: self.last_error().clone(),
        }
    }

    pub(super) fn last_error(&self) -> MutexGuard<'_, Option<String>> {
        self.counts
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(count: &AtomicU64, n: u64) {
        count.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, samples: u64) {
        Self::add(&self.counts.samples_dropped, samples);
    }
}
