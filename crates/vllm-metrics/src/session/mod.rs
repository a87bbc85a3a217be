//! A run being recorded: start it, call its hooks, finish it, and get its files and their cost.

mod builder;
mod driver;
mod finished;
mod receivers;
mod samplers;
mod writer;

use std::collections::BTreeMap;
#[cfg(feature = "http")]
use std::net::SocketAddr;
#[cfg(feature = "analysis")]
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::collector::{EndpointReport, ScrapeControl};
use crate::hooks::Hooks;
use crate::recorder::{LatestSample, LatestValues, Recorder, ThreadCpu};
pub use builder::SessionBuilder;
use driver::DriverReport;
pub use driver::SessionDriver;
pub use finished::{FinishedRun, Missing, OwnCost};
use receivers::Receivers;
pub use receivers::Sent;
#[cfg(feature = "expressions")]
use run_analysis::derive::CustomMetric;
#[cfg(feature = "analysis")]
use run_analysis::view::Analysis;
use run_model::Manifest;
use run_model::RunClock;
use run_model::error::panic_text;
use run_model::{Error, Result};
#[cfg(feature = "analysis")]
use run_store::{StoreFiles, StoreFormat};
use samplers::Samplers;
use writer::WriterThread;

/// A run being recorded. Dropping it without [`Session::finish`] leaves the files as after a kill: readable
/// up to the last flush.
#[derive(Debug)]
pub struct Session {
    recorder: Recorder,
    latest: Arc<LatestValues>,
    collector_cpu: Arc<ThreadCpu>,
    hooks: Hooks,
    control: ScrapeControl,
    manifest: Mutex<Manifest>,
    endpoints: Vec<Arc<Mutex<EndpointReport>>>,
    longest_timeout: Duration,
    #[cfg(feature = "http")]
    metrics_address: Option<SocketAddr>,
    #[cfg(feature = "analysis")]
    process_into: Option<(PathBuf, StoreFormat)>,
    #[cfg(feature = "expressions")]
    custom: Vec<CustomMetric>,
    #[cfg(feature = "upload")]
    upload: Option<run_store::upload::Upload>,
    running: Option<Running>,
}

/// Components to stop, in the order of stopping.
#[derive(Debug)]
struct Running {
    samplers: Samplers,
    driver: DriverHandle,
    writer: WriterThread,
    receivers: Receivers,
}

/// Where the driver runs.
#[derive(Debug)]
enum DriverHandle {
    /// On the session's own thread.
    Thread(JoinHandle<DriverReport>),
    /// On the caller's runtime; it sends its report when it ends.
    Elsewhere(crossbeam_channel::Receiver<DriverReport>),
}

impl Session {
    /// Creates a builder.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// The session's recorder, to subscribe to records or to record more.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// The run's clock.
    pub fn clock(&self) -> RunClock {
        self.recorder.clock().clone()
    }

    /// The hooks for the harness.
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

    /// The run's manifest so far.
    pub fn manifest(&self) -> Manifest {
        self.manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// `YYYYMMDD_HHMMSS` of the start, as in the files' names.
    pub fn stamp(&self) -> String {
        self.manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stamp
            .clone()
    }

    /// Scrapes every endpoint now and waits for completion, successful or not, but at most `limit`. Call it
    /// right before the first load is sent, so that counters start exactly there. False if `limit` passed
    /// first.
    pub fn scrape_now(&self, limit: Duration) -> bool {
        self.control.wait(self.control.force(), limit)
    }

    /// The newest sample of every series not older than `max_age`, sorted by name, labels and endpoint.
    pub fn latest(&self, max_age: Duration) -> Vec<LatestSample> {
        self.latest.fresh(self.recorder.now_ns(), max_age)
    }

    /// The address of the session's own endpoint, if enabled with [`SessionBuilder::serve`]: own series at
    /// `/metrics`, the newest scraped values at `/federate`.
    #[cfg(feature = "http")]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Scrape statistics of each endpoint so far.
    pub fn endpoints(&self) -> Vec<EndpointReport> {
        self.endpoints
            .iter()
            .map(|report| report.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    /// Ends the run: scrapes every responding endpoint once more, drains the hooks, then writes the files.
    /// Blocks for the running scrape (its timeout at most), the last one, and the disk.
    ///
    /// Must not be called on the only thread of the runtime that drives the session: use
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
        self.close(running.samplers, running.writer, running.receivers, &report)
    }

    /// Like [`Session::finish`], for callers on a runtime: waits on a separate thread.
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
        samplers: Samplers,
        writer: WriterThread,
        receivers: Receivers,
        report: &DriverReport,
    ) -> Result<FinishedRun> {
        let sampled = samplers.finish();
        let endpoints = self.endpoints();
        let queue = writer.queue().clone();
        let writer_cpu = Arc::clone(writer.cpu());
        let mut cost = OwnCost::gather(report, &sampled, &endpoints);
        cost.queue_high_water_bytes = queue.high_water_bytes();
        cost.series = self.recorder.series_count();
        let wall_ns = self.recorder.now_ns() - self.recorder.clock().started_ns();
        cost.wall = Duration::from_nanos(u64::try_from(wall_ns).unwrap_or(0));
        cost.collector_cpu = self.collector_cpu.get();
        cost.writer_cpu = writer_cpu.get();
        let dropped = queue.dropped();
        let mut manifest = self
            .manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        manifest.ended_ns = Some(self.recorder.now_ns());
        self.recorder.help().add_facts(&mut manifest.facts);
        cost.add_facts(dropped, report.hooks_dropped, &mut manifest.facts);
        let writer_report = Arc::clone(writer.report());
        let files = writer.finish(manifest.clone())?;
        // Closing the files is part of the writer's cost, but too late for the facts inside them.
        cost.writer_cpu = writer_cpu.get();
        let mut notes = [report.notes.as_slice(), sampled.notes.as_slice()].concat();
        #[cfg(feature = "analysis")]
        let (processed, analysis) = self.process(&files, &mut notes);
        #[cfg(not(feature = "analysis"))]
        let processed = run_store::StoreFiles::default();
        // After the files: an unresponsive receiver must not delay them.
        let sent = receivers.finish(&manifest);
        self.recorder.close();
        let incomplete = sent.iter().filter(|sent| !sent.is_complete());
        notes.extend(incomplete.map(ToString::to_string));
        #[cfg(feature = "upload")]
        let uploads = self.upload.as_ref().map(|upload| {
            upload.files(files.all.iter().cloned());
            upload.files(processed.all.iter().cloned());
            let stats = upload.settle();
            notes.extend(stats.problems());
            stats
        });
        let missing = Missing::gather(&endpoints, dropped, report, &writer_report, notes);
        Ok(FinishedRun {
            samples_path: files.samples.clone(),
            processed_path: Some(processed.samples).filter(|path| !path.as_os_str().is_empty()),
            processed_requests_path: processed.requests,
            requests_path: files.requests.clone(),
            batches_path: files.batches.clone(),
            events_path: files.events.clone(),
            files,
            manifest,
            cost,
            missing,
            endpoints,
            sent,
            #[cfg(feature = "nvml")]
            gpu: sampled.gpu,
            host: sampled.host,
            #[cfg(feature = "analysis")]
            analysis,
            #[cfg(feature = "upload")]
            uploads,
        })
    }

    /// Reads the run back, the only time in its life, and writes the derived series next to the raw ones. The
    /// run is usable without them: failure adds a note.
    #[cfg(feature = "analysis")]
    fn process(
        &self,
        files: &StoreFiles,
        notes: &mut Vec<String>,
    ) -> (StoreFiles, Option<Arc<Analysis<'static>>>) {
        let Some((dir, format)) = &self.process_into else {
            return Default::default();
        };
        let mut note = |error| notes.push(format!("the derived series were not written: {error}"));
        let analysis = match run_store::read_run(&files.samples) {
            Ok(run) => Analysis::owning(run),
            Err(error) => {
                note(error);
                return Default::default();
            }
        };
        #[cfg(feature = "expressions")]
        let derived = analysis.derive_with(&self.custom);
        #[cfg(not(feature = "expressions"))]
        let derived = analysis.derive();
        let written = run_store::write_run(&derived, *format, dir, "_processed").map(|mut written| {
            // One file may hold every table, including empty ones.
            written.requests = written.requests.filter(|_| !derived.requests.is_empty());
            written
        });
        let written = written.map_err(note).unwrap_or_default();
        let failed = derived
            .events
            .iter()
            .filter(|event| event.kind == run_model::EventKind::CustomMetricFailed);
        notes.extend(failed.map(|event| event.message.to_string()));
        (written, Some(Arc::new(analysis)))
    }

    /// The longest timeout of any endpoint: a sensible limit for [`Session::scrape_now`].
    pub fn longest_timeout(&self) -> Duration {
        self.longest_timeout
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Not finished: stop the threads without waiting for them.
        if self.running.take().is_some() {
            self.control.stop();
        }
    }
}

/// Facts as in the manifest.
type Facts = BTreeMap<String, String>;
