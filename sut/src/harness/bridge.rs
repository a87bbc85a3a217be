//! LoadGen's side of the harness: takes queries on LoadGen's thread and passes them to the workers.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use mlperf_loadgen::{IssuedSample, IssuedSamples, QuerySampleLibrary, SystemUnderTest};
use tokio::sync::mpsc;
use vllm_metrics::{Hooks, RunClock};

use super::counters::Counters;
use super::forecast::EarlyStopForecast;

/// Why a query failed that was issued or waiting while the run was being ended.
pub(crate) const ENDING: &str = "the run is being ended";

/// The samples of one `IssueQuery` that are sent together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Number of the batch within the run.
    pub(crate) id: u64,
    /// The samples; never empty.
    pub(crate) samples: Vec<IssuedSample>,
}

/// The System Under Test as LoadGen sees it.
///
/// `issue_query` only splits the query into batches and sends them into a channel. The channel is unbounded
/// on purpose: its entries are small, the run's query count bounds them, and waiting here would distort
/// LoadGen's arrival schedule. The workers' permits limit the requests in flight.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// Name in LoadGen's logs.
    pub(crate) name: String,
    /// Largest batch.
    pub(crate) batch_size: usize,
    /// Sender to the dispatcher.
    pub(crate) queue: mpsc::UnboundedSender<Batch>,
    /// Progress.
    pub(crate) counters: Arc<Counters>,
    /// The forecast of validity, in scenarios with latency limits.
    pub(crate) forecast: Option<Arc<EarlyStopForecast>>,
    /// The recorder, when there is one.
    pub(crate) hooks: Option<Hooks>,
    /// Number of the next batch.
    pub(crate) next_batch: std::sync::atomic::AtomicU64,
    /// Blocks LoadGen's thread once its test has been given up.
    pub(crate) gate: Arc<IssueGate>,
}

/// Blocks LoadGen's issuing threads forever once it is closed.
///
/// LoadGen has no abort: it would continue to issue queries while the run's files are written and the process
/// ends. Queries that it has already issued are answered; further ones are blocked.
#[derive(Debug, Default)]
pub(crate) struct IssueGate {
    closed: RwLock<bool>,
}

impl IssueGate {
    /// Closes the gate. Returns when all callers that have passed have dropped their guards.
    pub(crate) fn close(&self) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Lets the caller through and delays [`IssueGate::close`] until the guard is dropped; never returns once
    /// the gate is closed.
    fn pass(&self) -> RwLockReadGuard<'_, bool> {
        loop {
            let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
            if !*closed {
                return closed;
            }
            drop(closed);
            // Wakeups may be spurious.
            std::thread::park();
        }
    }
}

impl Bridge {
    fn send(&self, samples: Vec<IssuedSample>) {
        let id = self.next_batch.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(hooks) = &self.hooks {
            hooks.batch_issued(id, u32::try_from(samples.len()).unwrap_or(u32::MAX));
            for sample in &samples {
                let scheduled_ns = sample.scheduled_at().map(RunClock::unix_ns);
                hooks.request_issued(sample.id() as u64, sample.index() as u64, Some(id), scheduled_ns);
            }
        }
        if let Some(forecast) = &self.forecast {
            for sample in &samples {
                if let Some(scheduled) = sample.scheduled_at() {
                    forecast.issued(sample.id() as u64, RunClock::unix_ns(scheduled));
                }
            }
        }
        if let Err(back) = self.queue.send(Batch { id, samples }) {
            // The dispatcher is gone, so the samples must be answered here.
            for sample in back.0.samples {
                self.counters.fail("ending", ENDING);
                // Refused only after the test, when nothing is left to answer.
                let _refused = sample.fail(ENDING);
            }
        }
    }
}

impl SystemUnderTest for Bridge {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn issue_query(&self, samples: IssuedSamples<'_>) {
        let _inside = self.gate.pass();
        self.counters
            .issued
            .fetch_add(samples.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let mut batch = Vec::with_capacity(self.batch_size.min(samples.len()));
        for sample in samples {
            batch.push(sample);
            if batch.len() == self.batch_size {
                self.send(std::mem::replace(&mut batch, Vec::with_capacity(self.batch_size)));
            }
        }
        if !batch.is_empty() {
            self.send(batch);
        }
    }
}

/// The dataset as LoadGen sees it. All samples are in memory before the test, so loading does nothing.
#[derive(Debug)]
pub(crate) struct Library {
    /// Name in LoadGen's logs.
    pub(crate) name: String,
    /// Samples in the dataset.
    pub(crate) total: usize,
    /// Samples that a performance run draws from.
    pub(crate) performance: usize,
}

impl QuerySampleLibrary for Library {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn total_sample_count(&self) -> usize {
        self.total
    }

    fn performance_sample_count(&self) -> usize {
        self.performance
    }
}
