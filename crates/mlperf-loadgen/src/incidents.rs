//! Events of a test for which LoadGen has no message: counted, with the first reasons kept.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reasons kept per test; later ones are only counted.
const KEPT: usize = 16;

/// Events of one test that make it unusable as a result. They are in
/// [`RunReport::incidents`](crate::RunReport::incidents); check [`is_empty`](Self::is_empty).
///
/// LoadGen's own log shows most of them as errors too, but without the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incidents {
    /// Samples that were dropped without an answer; LoadGen got an empty answer.
    pub dropped: u64,
    /// Samples that the SUT answered with [`fail`](crate::IssuedSample::fail).
    pub failed: u64,
    /// Samples that were completed without the first token that this test needs. Their token count was
    /// reported to LoadGen as 0, so that its log has an error for each.
    pub missing_first_token: u64,
    /// First tokens reported for a sample that already had one.
    pub second_first_token: u64,
    /// Callbacks that panicked; the samples that they held count under `dropped`.
    pub panics: u64,
    /// `load_samples` calls that returned an error. No query reaches the SUT after one.
    pub load_failures: u64,
    /// Calls refused because the sample's test had ended, up to the return of `run_test`.
    pub late: u64,
    /// Calls into LoadGen that ended in a C++ exception.
    pub exceptions: u64,
    /// The first reasons, in order, at most 16.
    pub reasons: Vec<String>,
}

impl Incidents {
    /// True if nothing happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(crate) struct Counters {
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) missing_first_token: AtomicU64,
    pub(crate) second_first_token: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) exceptions: AtomicU64,
    reasons: Mutex<Vec<String>>,
}

/// Static, so that a completion finds it without a pointer in every sample; only one test runs at a time.
pub(crate) static INCIDENTS: Counters = Counters {
    dropped: AtomicU64::new(0),
    failed: AtomicU64::new(0),
    missing_first_token: AtomicU64::new(0),
    second_first_token: AtomicU64::new(0),
    panics: AtomicU64::new(0),
    load_failures: AtomicU64::new(0),
    late: AtomicU64::new(0),
    exceptions: AtomicU64::new(0),
    reasons: Mutex::new(Vec::new()),
};

impl Counters {
    pub(crate) fn count(&self, counter: &AtomicU64, reason: impl FnOnce() -> String) {
        counter.fetch_add(1, Ordering::Relaxed);
        let mut reasons = self
            .reasons
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if reasons.len() < KEPT {
            reasons.push(reason());
        }
    }

    /// Returns the counts and resets them.
    pub(crate) fn take(&self) -> Incidents {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Incidents {
            dropped: take(&self.dropped),
            failed: take(&self.failed),
            missing_first_token: take(&self.missing_first_token),
            second_first_token: take(&self.second_first_token),
            panics: take(&self.panics),
            load_failures: take(&self.load_failures),
            late: take(&self.late),
            exceptions: take(&self.exceptions),
            reasons: std::mem::take(
                &mut *self
                    .reasons
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
            ),
        }
    }
}
