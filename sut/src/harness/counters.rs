//! Progress counters: atomics that the workers write, and that progress, watchdog and summary read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts since the start of the test. All fields except `in_flight` and `streaming` only increase.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Queries that LoadGen has issued.
    pub(crate) issued: AtomicU64,
    /// Requests that were sent.
    pub(crate) sent: AtomicU64,
    /// Requests that were sent and not yet answered.
    pub(crate) in_flight: AtomicI64,
    /// Answers whose first token has arrived and whose end has not.
    pub(crate) streaming: AtomicI64,
    /// Queries answered in full.
    pub(crate) completed: AtomicU64,
    /// Queries answered as failed.
    pub(crate) failed: AtomicU64,
    /// Output tokens reported to LoadGen.
    pub(crate) output_tokens: AtomicU64,
    /// Time of the last data from the server, in nanoseconds since the start of the run's clock; 0 before the first.
    pub(crate) last_answer_ns: AtomicI64,
    failures: Mutex<Vec<Failures>>,
    retries: Mutex<Vec<Failures>>,
    remarks: Mutex<Vec<Failures>>,
}

/// Guard of an answer that is streaming.
#[derive(Debug)]
pub(crate) struct Streaming<'a>(&'a Counters);

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.0.streaming.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Failures or remarks of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failures {
    /// The kind.
    pub(crate) kind: &'static str,
    /// The count.
    pub(crate) count: u64,
    /// Description of the first one.
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

    /// Counts an answer as streaming, after its first token, until the guard is dropped.
    pub(crate) fn begin_stream(&self) -> Streaming<'_> {
        self.streaming.fetch_add(1, Ordering::Relaxed);
        Streaming(self)
    }

    /// Queries that LoadGen is waiting for.
    pub(crate) fn outstanding(&self) -> u64 {
        // Read the answered ones first: a query answered in between makes the result too large, but never
        // negative.
        let answered = Self::get(&self.completed) + Self::get(&self.failed);
        Self::get(&self.issued).saturating_sub(answered)
    }

    /// Counts a failed query and stores the first one of each kind.
    pub(crate) fn fail(&self, kind: &'static str, why: &str) {
        Self::bump(&self.failed);
        Self::remember(&self.failures, kind, why);
    }

    /// The kinds of failure, most frequent first.
    pub(crate) fn failures(&self) -> Vec<Failures> {
        Self::remembered(&self.failures)
    }

    /// Counts a failed attempt that is retried.
    pub(crate) fn retry(&self, kind: &'static str, why: &str) {
        Self::remember(&self.retries, kind, why);
    }

    /// Failed attempts that were retried, most frequent kind first.
    pub(crate) fn retries(&self) -> Vec<Failures> {
        Self::remembered(&self.retries)
    }

    /// Counts an irregularity of a completed answer.
    pub(crate) fn remark(&self, kind: &'static str, what: &str) {
        Self::remember(&self.remarks, kind, what);
    }

    /// Irregularities of completed answers, most frequent kind first.
    pub(crate) fn remarks(&self) -> Vec<Failures> {
        Self::remembered(&self.remarks)
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
