//! The thread that owns the store: takes records from the queue, flushes about once a second, finishes the files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::QueueEnd;
use crate::error::{Error, Result};
use crate::model::{Manifest, Record};
use crate::selfcost::ThreadCpu;
use crate::store::{Store, StoreFiles};

/// What the writer has to tell while it runs and after.
#[derive(Debug, Default)]
pub(crate) struct WriterReport {
    /// Records taken.
    pub(crate) written: AtomicU64,
    /// Records the store refused.
    pub(crate) refused: AtomicU64,
    /// The first refusals, in words.
    problems: std::sync::Mutex<Vec<String>>,
}

/// Problems kept in words; the rest is only counted.
const PROBLEMS_KEPT: usize = 8;

impl WriterReport {
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn problem(&self, error: &Error) {
        let mut problems = self
            .problems
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let text = error.to_string();
        if problems.len() < PROBLEMS_KEPT && !problems.contains(&text) {
            tracing::warn!(error = %text, "store");
            problems.push(text);
        }
    }
}

/// The running writer. It ends when told to finish and the queue is empty.
#[derive(Debug)]
pub(crate) struct WriterThread {
    thread: JoinHandle<Result<StoreFiles>>,
    finish: crossbeam_channel::Sender<Manifest>,
    report: Arc<WriterReport>,
}

impl WriterThread {
    pub(crate) fn start(
        store: Box<dyn Store>,
        queue: QueueEnd,
        flush_every: Duration,
        cpu: Arc<ThreadCpu>,
    ) -> Result<Self> {
        let report = Arc::new(WriterReport::default());
        let (finish, told) = crossbeam_channel::bounded(1);
        let thread = std::thread::Builder::new()
            .name("metrics-writer".into())
            .spawn({
                let report = Arc::clone(&report);
                move || {
                    let files = run(store, &queue, flush_every, &told, &report, &cpu);
                    cpu.tell();
                    files
                }
            })
            .map_err(|source| Error::Start {
                what: "the writer thread",
                source,
            })?;
        Ok(Self {
            thread,
            finish,
            report,
        })
    }

    pub(crate) fn report(&self) -> &Arc<WriterReport> {
        &self.report
    }

    /// Writes what is queued, closes the files, and waits for that.
    pub(crate) fn finish(self, manifest: Manifest) -> Result<StoreFiles> {
        // If the thread is gone, joining it tells why.
        let _ = self.finish.send(manifest);
        match self.thread.join() {
            Ok(files) => files,
            Err(panic) => Err(Error::Panicked {
                thread: "writer",
                message: panic_text(panic.as_ref()),
            }),
        }
    }
}

fn run(
    mut store: Box<dyn Store>,
    queue: &QueueEnd,
    flush_every: Duration,
    told: &crossbeam_channel::Receiver<Manifest>,
    report: &WriterReport,
    cpu: &ThreadCpu,
) -> Result<StoreFiles> {
    let mut next_flush = Instant::now() + flush_every;
    let mut unflushed = false;
    let manifest = loop {
        let wait = next_flush.saturating_duration_since(Instant::now());
        crossbeam_channel::select! {
            recv(queue.receiver) -> record => {
                // No sender is left: only the word to finish can come, and `told` brings it.
                let Ok(record) = record else {
                    return match told.recv() {
                        Ok(manifest) => store.finish(&manifest),
                        Err(_) => abandon(store.as_mut()),
                    };
                };
                take(store.as_mut(), queue, record, report);
                unflushed = true;
            }
            recv(told) -> manifest => match manifest {
                Ok(manifest) => {
                    for record in queue.receiver.try_iter() {
                        take(store.as_mut(), queue, record, report);
                    }
                    break manifest;
                }
                Err(_) => return abandon(store.as_mut()),
            },
            default(wait) => {}
        }
        if Instant::now() >= next_flush {
            if unflushed && let Err(error) = guarded(|| store.flush()) {
                report.problem(&error);
            }
            unflushed = false;
            cpu.tell();
            next_flush = Instant::now() + flush_every;
        }
    };
    store.finish(&manifest)
}

/// The session was dropped without an end: leave what there is, as after a kill.
fn abandon(store: &mut dyn Store) -> Result<StoreFiles> {
    store.flush().map(|()| StoreFiles::default())
}

fn take(store: &mut dyn Store, queue: &QueueEnd, record: Record, report: &WriterReport) {
    queue.taken(&record);
    match guarded(|| store.write(record)) {
        Ok(()) => report.written.fetch_add(1, Ordering::Relaxed),
        Err(error) => {
            report.problem(&error);
            report.refused.fetch_add(1, Ordering::Relaxed)
        }
    };
}

/// A store that panics on one record must not take the rest of the recording with it.
fn guarded(call: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        Err(Error::Panicked {
            thread: "writer",
            message: panic_text(panic.as_ref()),
        })
    })
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}
