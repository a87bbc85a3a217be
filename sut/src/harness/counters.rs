//! What the run has done so far: plain atomics, written by the workers, read by progress, watchdog and summary.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts since the start of the test. Every field only rises, but `in_flight` and `streaming`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Queries LoadGen has handed over.
    pub(crate) issued: AtomicU64,
    /// Requests whose bytes went out.
    pub(crate) sent: AtomicU64,
    /// Requests out and not yet answered.
    pub(crate) in_flight: AtomicI64,
    /// Answers whose first token has come and whose end has not.
    pub(crate) streaming: AtomicI64,
    /// Queries answered in full.
    pub(crate) completed: AtomicU64,
    /// Queries answered as failed.
    pub(crate) failed: AtomicU64,
    /// Output tokens reported to LoadGen.
    pub(crate) output_tokens: AtomicU64,
    /// Time of the last sign of life from the server, in nanoseconds on the run's clock; 0 before the first.
    pub(crate) last_answer_ns: AtomicI64,
    failures: Mutex<Vec<Failures>>,
    retries: Mutex<Vec<Failures>>,
}

/// An answer that is streaming.
#[derive(Debug)]
pub(crate) struct Streaming<'a>(&'a Counters);

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.0.streaming.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failures {
    /// A fixed word.
    pub(crate) kind: &'static str,
    /// How many.
    pub(crate) count: u64,
    /// The first of them, in words.
    pub(crate) first: String,
}

impl Counters {
    /// Adds one to a counter.
    pub(crate) fn bump(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads a counter.
    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// An answer's first token has come; it counts as streaming until the value is dropped.
    pub(crate) fn begin_stream(&self) -> Streaming<'_> {
        self.streaming.fetch_add(1, Ordering::Relaxed);
        Streaming(self)
    }

    /// Queries that LoadGen waits for.
    pub(crate) fn outstanding(&self) -> u64 {
        // Read the answered ones first: a query answered in between makes the result too large, never negative.
        let answered = Self::get(&self.completed) + Self::get(&self.failed);
        Self::get(&self.issued).saturating_sub(answered)
    }

    /// Counts a failed query and remembers the first one of each kind.
    pub(crate) fn fail(&self, kind: &'static str, why: &str) {
        Self::bump(&self.failed);
        Self::remember(&self.failures, kind, why);
    }

    /// The kinds of failure, most frequent first.
    pub(crate) fn failures(&self) -> Vec<Failures> {
        Self::remembered(&self.failures)
    }

    /// Counts an attempt that failed and is followed by another.
    pub(crate) fn retry(&self, kind: &'static str, why: &str) {
        Self::remember(&self.retries, kind, why);
    }

    /// Attempts that failed and were followed by another, most frequent kind first.
    pub(crate) fn retries(&self) -> Vec<Failures> {
        Self::remembered(&self.retries)
    }

    fn remember(list: &Mutex<Vec<Failures>>, kind: &'static str, why: &str) {
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        match list.iter_mut().find(|known| known.kind == kind) {
            Some(known) => known.count += 1,
            None => list.push(Failures {
                kind,
                count: 1,
                first: why.to_owned(),
            }),
        }
    }

    fn remembered(list: &Mutex<Vec<Failures>>) -> Vec<Failures> {
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        list.sort_by_key(|known| std::cmp::Reverse(known.count));
        list
    }
}
