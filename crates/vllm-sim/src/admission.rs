//! Limits of admission: requests beyond them are rejected with status 503.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::Nanos;
use crate::levers::{Lever, LeverState};

/// Limits and counts, shared by all engines of a server.
#[derive(Debug)]
pub(crate) struct Admission {
    max_requests: u64,
    max_prefill_tokens: u64,
    levers: Mutex<LeverState>,
    requests: AtomicUsize,
    prefill_tokens: AtomicU64,
    rejections: [AtomicU64; 2],
}

impl Admission {
    pub(crate) fn new(max_requests: Option<u32>, max_prefill_tokens: Option<u64>) -> Self {
        Self {
            max_requests: max_requests.map_or(u64::MAX, u64::from),
            max_prefill_tokens: max_prefill_tokens.unwrap_or(u64::MAX),
            levers: Mutex::default(),
            requests: AtomicUsize::new(0),
            prefill_tokens: AtomicU64::new(0),
            rejections: Default::default(),
        }
    }

    /// True if `requests` more with `tokens` prompt tokens may enter; a rejection is counted under its limit.
    pub(crate) fn admits(&self, now: Nanos, requests: usize, tokens: u64) -> bool {
        let levers = *self.lock();
        let limit = |lever, configured| levers.get(lever, now).unwrap_or(configured);
        let most_requests = limit(Lever::MaxNumQueuedReqs, self.max_requests);
        let most_tokens = limit(Lever::MaxNumQueuedTokens, self.max_prefill_tokens);
        let unfinished = self.requests.load(Ordering::Relaxed).saturating_add(requests) as u64;
        let prefill = self.prefill_tokens.load(Ordering::Relaxed).saturating_add(tokens);
        let met = if unfinished > most_requests {
            0
        } else if prefill > most_tokens {
            1
        } else {
            return true;
        };
        self.rejections[met].fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Rejections so far: for too many requests, for too many prompt tokens.
    pub(crate) fn rejections(&self) -> [u64; 2] {
        [
            self.rejections[0].load(Ordering::Relaxed),
            self.rejections[1].load(Ordering::Relaxed),
        ]
    }

    /// The settings of the levers.
    pub(crate) fn levers(&self) -> LeverState {
        *self.lock()
    }

    /// Changes the levers and returns their settings.
    pub(crate) fn change_levers(&self, change: impl FnOnce(&mut LeverState)) -> LeverState {
        let mut levers = self.lock();
        change(&mut levers);
        *levers
    }

    pub(crate) fn entered(&self, prompt: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.prefill_tokens.fetch_add(prompt, Ordering::Relaxed);
    }

    pub(crate) fn prefilled(&self, prompt: u64) {
        self.prefill_tokens.fetch_sub(prompt, Ordering::Relaxed);
    }

    pub(crate) fn left(&self, requests: usize) {
        self.requests.fetch_sub(requests, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, LeverState> {
        self.levers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
