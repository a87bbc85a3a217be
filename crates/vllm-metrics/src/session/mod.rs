//! One run being recorded: start it, call its hooks, finish it, and get its files and what they cost.

mod builder;
mod core;
mod driver;
mod finished;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::RunClock;
use crate::collector::{EndpointReport, ScrapeControl};
use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::model::Manifest;
use crate::queue::{WriterThread, panic_text};
use crate::sink::StopToken;
use crate::store::StoreFiles;
pub use builder::SessionBuilder;
pub(crate) use core::{Core, CoreSink, OwnSeries, event};
use driver::DriverReport;
pub use driver::SessionDriver;
pub use finished::{FinishedRun, Missing, OwnCost};

/// A run being recorded. Dropping it without [`Session::finish`] leaves the files as a kill would: readable up to
/// the last flush.
#[derive(Debug)]
pub struct Session {
    core: Arc<Core>,
    hooks: Hooks,
    control: ScrapeControl,
    manifest: Mutex<Manifest>,
    endpoints: Vec<Arc<Mutex<EndpointReport>>>,
    longest_timeout: Duration,
    running: Option<Running>,
}

/// What has to be stopped, in the order of stopping.
#[derive(Debug)]
struct Running {
    samplers: Vec<Sampler>,
    samplers_stop: StopToken,
    driver: DriverHandle,
    writer: WriterThread,
}

#[derive(Debug)]
struct Sampler {
    name: String,
    thread: JoinHandle<()>,
}

/// Where the driver runs.
#[derive(Debug)]
enum DriverHandle {
    /// On a thread of the session's own.
    Thread(JoinHandle<DriverReport>),
    /// On the caller's runtime; it reports when it has ended.
    Elsewhere(crossbeam_channel::Receiver<DriverReport>),
}

impl Session {
    /// Begins to configure a session.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// The run's clock.
    pub fn clock(&self) -> RunClock {
        self.core.clock.clone()
    }

    /// What the harness calls while it runs.
    pub fn hooks(&self) -> Hooks {
        self.hooks.clone()
    }

    /// Adds a fact to the run's manifest, replacing one of the same key.
    pub fn fact(&self, key: impl Into<String>, value: impl Into<String>) {
        self.manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .facts
            .insert(key.into(), value.into());
    }

    /// `YYYYMMDD_HHMMSS` of the start, as it stands in the files' names.
    pub fn stamp(&self) -> String {
        self.manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stamp
            .clone()
    }

    /// Scrapes every endpoint now and waits until that is done, well or not, but no longer than `limit`. Call it
    /// right before the first load is sent: counters then start exactly there. False if `limit` passed first.
    pub fn scrape_now(&self, limit: Duration) -> bool {
        self.control.wait(self.control.force(), limit)
    }

    /// What became of each endpoint so far.
    pub fn endpoints(&self) -> Vec<EndpointReport> {
        self.endpoints
            .iter()
            .map(|report| report.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    /// Ends the run: a last scrape of every endpoint that answers, the last hook entries, then the files. Waits for
    /// all of it: the scrape that is under way (its timeout at most), one more, and the disk.
    ///
    /// Not to be called on the only thread of the runtime that drives the session: use
    /// [`Session::finish_async`] there.
    pub fn finish(mut self) -> Result<FinishedRun> {
        let running = self.running.take().expect("a session is finished once, by value");
        self.control.stop();
        let report = match running.driver {
            DriverHandle::Thread(thread) => thread.join().map_err(|panic| Error::Panicked {
                thread: "collector",
                message: panic_text(panic.as_ref()),
            })?,
            DriverHandle::Elsewhere(receiver) => receiver.recv().map_err(|_| Error::Panicked {
                thread: "collector",
                message: "the runtime that drove the session ended before it".into(),
            })?,
        };
        self.close(running.samplers, &running.samplers_stop, running.writer, &report)
    }

    /// As [`Session::finish`], for callers on a runtime: the waiting is done on a thread of its own.
    pub async fn finish_async(self) -> Result<FinishedRun> {
        tokio::task::spawn_blocking(move || self.finish())
            .await
            .map_err(|error| Error::Panicked {
                thread: "finish",
                message: error.to_string(),
            })?
    }

    fn close(
        &self,
        samplers: Vec<Sampler>,
        samplers_stop: &StopToken,
        writer: WriterThread,
        report: &DriverReport,
    ) -> Result<FinishedRun> {
        samplers_stop.stop();
        let mut notes = report.notes.clone();
        for sampler in samplers {
            if let Err(panic) = sampler.thread.join() {
                notes.push(format!(
                    "the {} sampler panicked: {}",
                    sampler.name,
                    panic_text(panic.as_ref())
                ));
            }
        }
        let ended_ns = self.core.clock.now_ns();
        let endpoints = self.endpoints();
        let cost = OwnCost::gather(&self.core, report, &endpoints);
        let dropped = self.core.queue.dropped();
        let mut manifest = self
            .manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        manifest.ended_ns = Some(ended_ns);
        cost.add_facts(&mut manifest.facts);
        let writer_report = Arc::clone(writer.report());
        let files: StoreFiles = writer.finish(manifest.clone())?;
        let missing = Missing::gather(&endpoints, dropped, report, &writer_report, notes);
        Ok(FinishedRun::new(files, manifest, cost, missing, endpoints))
    }

    /// The longest timeout of any endpoint: how long [`Session::scrape_now`] is worth waiting for.
    pub fn longest_timeout(&self) -> Duration {
        self.longest_timeout
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Not finished: end the threads, without waiting for them.
        if let Some(running) = self.running.take() {
            running.samplers_stop.stop();
            self.control.stop();
        }
    }
}

/// Facts as they stand in the manifest.
type Facts = BTreeMap<String, String>;
