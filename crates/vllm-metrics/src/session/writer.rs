//! A thread that feeds one store from a subscription: the run's files, or a network receiver.
//!
//! It sleeps until a record arrives, waits briefly for more, then writes and flushes all of them together. A
//! record is flushed within [`FLUSH_EVERY`] of its publication; without records the thread does not wake.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::recorder::{QueueMonitor, Subscription, ThreadCpu};
use run_model::Manifest;
use run_model::error::panic_text;
use run_model::{Error, Result};
use run_store::{Store, StoreFiles};

/// The longest time between a record's publication and the flush that covers it.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How long to wait for more records after the first: a flush costs more than a record.
const GATHER: Duration = Duration::from_millis(20);
/// Number of held bytes that wakes the thread before the flush is due.
const WAKE_BYTES: usize = 1 << 20;

/// What a writer reports while it runs and after.
#[derive(Debug, Default)]
pub(crate) struct WriterReport {
    /// Records that the store rejected.
    pub(crate) refused: AtomicU64,
    /// The first errors, as text.
    problems: Mutex<Vec<String>>,
}

/// Number of errors kept as text; further ones are only counted.
const PROBLEMS_KEPT: usize = 8;

impl WriterReport {
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn problem(&self, error: &Error) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let text = error.to_string();
        if problems.len() < PROBLEMS_KEPT && !problems.contains(&text) {
            tracing::warn!(error = %text, "store");
            problems.push(text);
        }
    }
}

/// A running writer. It ends when its subscription is closed and empty.
#[derive(Debug)]
pub(crate) struct WriterThread {
    thread: Option<JoinHandle<Result<StoreFiles>>>,
    queue: QueueMonitor,
    manifest: Arc<Mutex<Option<Manifest>>>,
    report: Arc<WriterReport>,
    cpu: Arc<ThreadCpu>,
}

impl WriterThread {
    /// Starts the thread `name`.
    pub(crate) fn start(name: &str, store: Box<dyn Store>, subscription: Subscription) -> Result<Self> {
        let report = Arc::new(WriterReport::default());
        let manifest = Arc::new(Mutex::new(None));
        let cpu = Arc::new(ThreadCpu::default());
        let queue = subscription.monitor();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn({
                let (report, manifest, cpu) = (Arc::clone(&report), Arc::clone(&manifest), Arc::clone(&cpu));
                move || {
                    let files = run(store, &subscription, &manifest, &report, &cpu);
                    cpu.update();
                    files
                }
            })
            .map_err(|source| Error::Start {
                what: "the writer thread",
                source,
            })?;
        Ok(Self {
            thread: Some(thread),
            queue,
            manifest,
            report,
            cpu,
        })
    }

    pub(crate) fn report(&self) -> &Arc<WriterReport> {
        &self.report
    }

    /// The counts of the store's queue.
    pub(crate) fn queue(&self) -> &QueueMonitor {
        &self.queue
    }

    /// CPU time of the thread, updated at each flush.
    pub(crate) fn cpu(&self) -> &Arc<ThreadCpu> {
        &self.cpu
    }

    /// Writes what is queued, closes the files, and waits for completion.
    pub(crate) fn finish(mut self, manifest: Manifest) -> Result<StoreFiles> {
        *self.manifest.lock().unwrap_or_else(PoisonError::into_inner) = Some(manifest);
        self.queue.close();
        let thread = self.thread.take().expect("a writer is finished once, by value");
        match thread.join() {
            Ok(files) => files,
            Err(panic) => Err(Error::Panicked {
                thread: "writer",
                message: panic_text(panic.as_ref()),
            }),
        }
    }
}

impl Drop for WriterThread {
    /// Without a manifest the thread flushes and leaves the files as after a kill.
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn run(
    mut store: Box<dyn Store>,
    subscription: &Subscription,
    manifest: &Mutex<Option<Manifest>>,
    report: &WriterReport,
    cpu: &ThreadCpu,
) -> Result<StoreFiles> {
    let mut earliest_flush = Instant::now();
    // When the oldest unflushed record is due.
    let mut due: Option<Instant> = None;
    while !subscription.is_closed() {
        let flush_at = due.unwrap_or_else(|| {
            subscription.wait_for(1, None);
            earliest_flush.max(Instant::now() + GATHER)
        });
        due = Some(flush_at);
        subscription.wait_for(WAKE_BYTES, due);
        write(store.as_mut(), subscription, report);
        let now = Instant::now();
        if now >= flush_at {
            if let Err(error) = guarded(|| store.flush()) {
                report.problem(&error);
            }
            cpu.update();
            (due, earliest_flush) = (None, now + FLUSH_EVERY);
        }
    }
    write(store.as_mut(), subscription, report);
    let manifest = manifest.lock().unwrap_or_else(PoisonError::into_inner).take();
    match manifest {
        Some(manifest) => store.finish(&manifest),
        // The session was dropped unfinished: keep what there is, as after a kill.
        None => store.flush().map(|()| StoreFiles::default()),
    }
}

fn write(store: &mut dyn Store, subscription: &Subscription, report: &WriterReport) {
    for record in subscription.try_take() {
        if let Err(error) = guarded(|| store.write(record)) {
            report.problem(&error);
            report.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A store that panics on one record must not lose the rest of the recording.
fn guarded(call: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        Err(Error::Panicked {
            thread: "writer",
            message: panic_text(panic.as_ref()),
        })
    })
}
