//! What the run has done so far: plain atomics, written by the workers, read by progress, watchdog and summary.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counts since the start of the test. Every field only rises, but `in_flight`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Queries LoadGen has handed over.
    pub issued: AtomicU64,
    /// Requests whose bytes went out.
    pub sent: AtomicU64,
    /// Requests out and not yet answered.
    pub in_flight: AtomicI64,
    /// Queries answered in full.
    pub completed: AtomicU64,
    /// Queries answered as failed.
    pub failed: AtomicU64,
    /// Output tokens reported to LoadGen.
    pub output_tokens: AtomicU64,
    /// Prompt tokens of the queries answered in full.
    pub prompt_tokens: AtomicU64,
    /// Answers of exactly one token, which LoadGen counts as errors whatever the model meant.
    pub one_token_answers: AtomicU64,
    /// Time of the last sign of life from the server, in nanoseconds on the run's clock; 0 before the first.
    pub last_answer_ns: AtomicI64,
    /// The first failures, in words, and how often each came.
    failures: Mutex<Vec<(String, u64)>>,
}

/// Kinds of failure kept apart; what comes after is counted under the last.
const KINDS_KEPT: usize = 16;

impl Counters {
    /// Adds one to a counter.
    pub fn bump(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads a counter.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Queries that LoadGen waits for.
    pub fn outstanding(&self) -> u64 {
        // Read the answered ones first: a query answered in between makes the result too large, never negative.
        let answered = Self::get(&self.completed) + Self::get(&self.failed);
        Self::get(&self.issued).saturating_sub(answered)
    }

    /// Counts a failed query and remembers why.
    pub fn fail(&self, why: &str) {
        Self::bump(&self.failed);
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = failures.iter_mut().find(|(text, _)| text == why) {
            known.1 += 1;
        } else if failures.len() < KINDS_KEPT {
            failures.push((why.to_owned(), 1));
        } else if let Some(last) = failures.last_mut() {
            last.0 = "other failures".into();
            last.1 += 1;
        }
    }

    /// The kinds of failure and how often each came, most frequent first.
    pub fn failures(&self) -> Vec<(String, u64)> {
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        failures
    }
}
