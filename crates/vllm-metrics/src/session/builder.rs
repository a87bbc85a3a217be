//! Configures and starts a session.

use std::fmt;
#[cfg(feature = "http")]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::driver::{DriverParts, DriverReport, SessionDriver};
use super::receivers::{Receiver, Receivers};
use super::samplers::{SamplerBody, Samplers};
use super::writer::WriterThread;
use super::{DriverHandle, Running, Session};
use crate::collector::{Collector, ScrapeControl};
use crate::config::{EndpointConfig, Resolved, SessionConfig};
#[cfg(feature = "http")]
use crate::export::Server;
use crate::hooks;
#[cfg(feature = "http")]
use crate::push::{PushgatewayConfig, RemoteWriteConfig};
use crate::recorder::{Filter, LatestValues, Recorder, ThreadCpu};
use crate::select::SelectionConfig;
#[cfg(feature = "nvml")]
use machine_telemetry::gpu::GpuConfig;
use machine_telemetry::host::HostConfig;
#[cfg(feature = "expressions")]
use run_analysis::derive::CustomMetric;
use run_model::RunClock;
use run_model::{ENDPOINTS_FACT, Manifest};
use run_model::{Error, Result};
use run_model::{SampleSink, StopToken};
use run_store::{Store, StoreFormat, StoreOptions};

/// Minimum time for which the session's own endpoint shows a value.
#[cfg(feature = "http")]
const SHOWN_FOR: Duration = Duration::from_secs(10);

/// Builder for [`Session`].
///
/// There are three ways to start one: [`SessionBuilder::start`] creates a thread for it,
/// [`SessionBuilder::spawn_on`] uses the caller's runtime, [`SessionBuilder::start_with_driver`] returns a
/// future for the caller to spawn.
#[derive(Default)]
pub struct SessionBuilder {
    config: SessionConfig,
    format: Option<StoreFormat>,
    store: Option<Box<dyn Store>>,
    store_options: StoreOptions,
    receivers: Vec<Receiver>,
    #[cfg(feature = "expressions")]
    custom: Vec<CustomMetric>,
    #[cfg(feature = "nvml")]
    gpu: Option<GpuConfig>,
    host: Option<HostConfig>,
    #[cfg(feature = "analysis")]
    raw_only: bool,
    #[cfg(feature = "http")]
    serve: Option<SocketAddr>,
    samplers: Vec<(String, SamplerBody)>,
    #[cfg(feature = "upload")]
    upload: Option<run_store::upload::Upload>,
}

impl SessionBuilder {
    /// Applies a configuration as written; later calls override or extend it.
    #[must_use]
    pub fn config(mut self, config: SessionConfig) -> Self {
        self.config = config;
        self
    }

    /// Adds an endpoint.
    #[must_use]
    pub fn endpoint(mut self, endpoint: EndpointConfig) -> Self {
        self.config.endpoints.push(endpoint);
        self
    }

    /// Sets the time between two scrapes; default 1 s, minimum 10 ms.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.config.interval_secs = Some(interval.as_secs_f64());
        self
    }

    /// Sets the folder of the files; default `./metrics_output`.
    #[must_use]
    pub fn output_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.output_dir = Some(dir.into());
        self
    }

    /// Sets the file format; default Parquet.
    #[must_use]
    pub fn format(mut self, format: StoreFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Writes all records to `store` instead of to files.
    #[must_use]
    pub fn store(mut self, store: Box<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets which metrics to record, for endpoints without a selection of their own.
    #[must_use]
    pub fn select(mut self, select: SelectionConfig) -> Self {
        self.config.select = select;
        self
    }

    /// Splits the files of a long run and limits how much is kept. Not supported by SQLite or together with
    /// [`SessionBuilder::store`].
    #[must_use]
    pub fn store_options(mut self, options: StoreOptions) -> Self {
        self.store_options = options;
        self
    }

    /// Also pushes the newest value of every series to a Pushgateway, at most twice a second while samples arrive,
    /// and at the end. Each push replaces the gateway's whole group (job, instance). Call it once per gateway. A slow
    /// or unreachable gateway never delays the run; samples that it did not accept are counted in
    /// [`super::FinishedRun::sent`]. An empty job or an invalid URL is an error of [`SessionBuilder::start`].
    #[cfg(feature = "http")]
    #[must_use]
    pub fn pushgateway(mut self, config: PushgatewayConfig) -> Self {
        self.receivers.push(Receiver::pushgateway(config));
        self
    }

    /// Also sends every sample by Prometheus remote write, with the same guarantees as
    /// [`SessionBuilder::pushgateway`].
    #[cfg(feature = "http")]
    #[must_use]
    pub fn remote_write(mut self, config: RemoteWriteConfig) -> Self {
        self.receivers.push(Receiver::remote_write(config));
        self
    }

    /// Adds a user-defined metric to the derived series, and to the run's facts.
    #[cfg(feature = "expressions")]
    #[must_use]
    pub fn custom_metric(mut self, metric: CustomMetric) -> Self {
        metric.add_facts(&mut self.config.facts);
        self.custom.push(metric);
        self
    }

    /// Adds a fact to the run's manifest.
    #[must_use]
    pub fn fact(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.facts.insert(key.into(), value.into());
        self
    }

    /// Marks the server as simulated, which is recorded in everything derived from the run.
    #[must_use]
    pub fn simulated(mut self, simulated: bool) -> Self {
        self.config.simulated = Some(simulated);
        self
    }

    /// Samples GPUs on a separate thread. Without a driver, the run has one event that reports it.
    #[cfg(feature = "nvml")]
    #[must_use]
    pub fn gpu(mut self, config: GpuConfig) -> Self {
        self.gpu = Some(config);
        self
    }

    /// Samples the host on a separate thread.
    #[must_use]
    pub fn host(mut self, config: HostConfig) -> Self {
        self.host = Some(config);
        self
    }

    /// Serves the session's own Prometheus endpoint at `address` during the run. With port 0 the system
    /// chooses one, which [`Session::metrics_address`] returns.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn serve(mut self, address: SocketAddr) -> Self {
        self.serve = Some(address);
        self
    }

    /// Writes an event that describes every scrape, for troubleshooting. Makes the events file large.
    #[must_use]
    pub fn debug(mut self, debug: bool) -> Self {
        self.config.debug = Some(debug);
        self
    }

    /// Uploads every file of the run at its end; [`Session::finish`] waits for it, within limits.
    #[cfg(feature = "upload")]
    #[must_use]
    pub fn upload(mut self, upload: run_store::upload::Upload) -> Self {
        self.upload = Some(upload);
        self
    }

    /// Writes only measured data; the derived series (rates, quantiles) can be made later.
    #[cfg(feature = "analysis")]
    #[must_use]
    pub fn raw_only(mut self) -> Self {
        self.raw_only = true;
        self
    }

    /// Adds a sampler on a separate thread: `body` runs until its token is stopped.
    #[must_use]
    pub fn sampler(
        mut self,
        name: impl Into<String>,
        body: impl FnOnce(Box<dyn SampleSink>, StopToken) + Send + 'static,
    ) -> Self {
        self.samplers.push((name.into(), Box::new(body)));
        self
    }

    /// Starts the session on its own thread, with a single-threaded runtime.
    pub fn start(self) -> Result<Session> {
        let mut parts = self.prepare()?;
        let driver = parts.take_driver().on_own_thread();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| Error::Start {
                what: "a runtime",
                source,
            })?;
        let thread = std::thread::Builder::new()
            .name("metrics-collector".into())
            .spawn(move || {
                // As a task: each wake-up of the future given to `block_on` itself costs a system call.
                runtime.block_on(async move {
                    tokio::spawn(driver.run())
                        .await
                        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
                })
            })
            .map_err(|source| Error::Start {
                what: "the collector thread",
                source,
            })?;
        parts.into_session(DriverHandle::Thread(thread))
    }

    /// Starts the session on the runtime of `handle`. Scrapes share its threads: while they are busy with
    /// other work, ticks are missed (and counted).
    pub fn spawn_on(self, handle: &tokio::runtime::Handle) -> Result<Session> {
        let (session, driver) = self.start_with_driver()?;
        // Tracked: the session waits for its report.
        handle.spawn(driver.into_future());
        Ok(session)
    }

    /// Starts the session and returns its driver, a future for the caller to spawn on a tokio runtime.
    /// Nothing is scraped and no hook entry is processed before that future runs.
    pub fn start_with_driver(self) -> Result<(Session, SessionDriver)> {
        let mut parts = self.prepare()?;
        let (sender, receiver) = crossbeam_channel::bounded::<DriverReport>(1);
        let driver = parts.take_driver().reporting_to(sender);
        Ok((parts.into_session(DriverHandle::Elsewhere(receiver))?, driver))
    }

    /// Opens the run's files; with an upload, a store that uploads the parts it closes.
    fn open_store(&self, config: &Resolved, manifest: &Manifest) -> Result<Box<dyn Store>> {
        let (format, dir, options) = (config.format, &config.output_dir, &self.store_options);
        #[cfg(feature = "upload")]
        if let Some(upload) = &self.upload {
            let store =
                run_store::upload::UploadingStore::open(format, dir, manifest, options, upload.clone())?;
            return Ok(Box::new(store));
        }
        run_store::open_with(format, dir, manifest, options)
    }

    fn prepare(mut self) -> Result<Parts> {
        let mut written = std::mem::take(&mut self.config);
        if let Some(format) = self.format {
            written.format = Some(format.as_str().to_owned());
        }
        let config = written.resolve()?;
        let clock = RunClock::start();
        if clock.started_ns() == i64::MAX || clock.started_ns() == i64::MIN {
            return Err(Error::config(
                "the machine's clock is outside the years 1678 to 2261, which a record's timestamps can hold: set the clock",
            ));
        }
        let manifest = manifest(&clock, &config);
        #[cfg(feature = "analysis")]
        let process_into =
            (self.store.is_none() && !self.raw_only).then(|| (config.output_dir.clone(), config.format));
        let store = match self.store.take() {
            Some(store) => store,
            None => {
                std::fs::create_dir_all(&config.output_dir)
                    .map_err(Error::io("create the folder", &config.output_dir))?;
                self.open_store(&config, &manifest)?
            }
        };
        let recorder = Recorder::new(clock.clone());
        // First, so that it receives every record.
        let subscription = recorder.subscribe(Filter::all(), config.queue_bytes);
        let latest = LatestValues::subscribe(&recorder);
        let collector = Collector::new(&config, &recorder)?;
        let endpoints = collector.reports();
        #[cfg(feature = "http")]
        let server = match self.serve {
            Some(address) => Some(Server::bind(
                address,
                &latest,
                &clock,
                SHOWN_FOR.max(config.interval * 3),
            )?),
            None => None,
        };
        #[cfg(feature = "http")]
        let metrics_address = server.as_ref().and_then(Server::address);
        let control = ScrapeControl::new(config.endpoints.len());
        let wake = Arc::new(tokio::sync::Notify::new());
        let (hooks, reader) = hooks::hooks(&clock, config.hook_ring_words, Arc::clone(&wake));
        // Threads last, so that no error above leaves one running.
        let receivers = Receivers::start(self.receivers, &recorder, config.queue_bytes)?;
        let writer = WriterThread::start("metrics-writer", store, subscription)?;
        let collector_cpu = Arc::new(ThreadCpu::default());
        let parts = DriverParts {
            recorder: recorder.clone(),
            queue: writer.queue().clone(),
            latest: Arc::clone(&latest),
            collector_cpu: Arc::clone(&collector_cpu),
            writer_cpu: Arc::clone(writer.cpu()),
        };
        let driver = SessionDriver::new(parts, collector, control.clone(), reader, wake)
            .reporting_on(receivers.monitor());
        #[cfg(feature = "http")]
        let driver = driver.serving(server);
        let longest_timeout = config
            .endpoints
            .iter()
            .map(|endpoint| endpoint.timeout)
            .max()
            .unwrap_or_default();
        Ok(Parts {
            recorder,
            latest,
            collector_cpu,
            hooks,
            control,
            manifest,
            endpoints,
            longest_timeout,
            #[cfg(feature = "http")]
            metrics_address,
            driver: Some(driver),
            writer,
            #[cfg(feature = "nvml")]
            gpu: self.gpu,
            host: self.host,
            #[cfg(feature = "analysis")]
            process_into,
            #[cfg(feature = "expressions")]
            custom: self.custom,
            receivers,
            samplers: self.samplers,
            #[cfg(feature = "upload")]
            upload: self.upload,
        })
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samplers: Vec<&str> = self.samplers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("SessionBuilder")
            .field("config", &self.config)
            .field("format", &self.format)
            .field("samplers", &samplers)
            .finish_non_exhaustive()
    }
}

/// All parts of a session except where it runs.
struct Parts {
    recorder: Recorder,
    latest: Arc<LatestValues>,
    collector_cpu: Arc<ThreadCpu>,
    hooks: hooks::Hooks,
    control: ScrapeControl,
    manifest: Manifest,
    endpoints: Vec<Arc<std::sync::Mutex<crate::collector::EndpointReport>>>,
    longest_timeout: Duration,
    #[cfg(feature = "http")]
    metrics_address: Option<SocketAddr>,
    driver: Option<SessionDriver>,
    writer: WriterThread,
    #[cfg(feature = "nvml")]
    gpu: Option<GpuConfig>,
    host: Option<HostConfig>,
    #[cfg(feature = "analysis")]
    process_into: Option<(PathBuf, StoreFormat)>,
    #[cfg(feature = "expressions")]
    custom: Vec<CustomMetric>,
    receivers: Receivers,
    samplers: Vec<(String, SamplerBody)>,
    #[cfg(feature = "upload")]
    upload: Option<run_store::upload::Upload>,
}

impl Parts {
    fn take_driver(&mut self) -> SessionDriver {
        self.driver.take().expect("a session has one driver")
    }

    fn into_session(self, driver: DriverHandle) -> Result<Session> {
        let mut running = Running {
            samplers: Samplers::default(),
            driver,
            writer: self.writer,
            receivers: self.receivers,
        };
        for (name, body) in self.samplers {
            running
                .samplers
                .start(name, body, &self.recorder)
                .inspect_err(|_| self.control.stop())?;
        }
        #[cfg(feature = "nvml")]
        if let Some(config) = self.gpu {
            running
                .samplers
                .start_gpu(config, &self.recorder)
                .inspect_err(|_| self.control.stop())?;
        }
        if let Some(config) = self.host {
            running
                .samplers
                .start_host(config, &self.recorder)
                .inspect_err(|_| self.control.stop())?;
        }
        Ok(Session {
            recorder: self.recorder,
            latest: self.latest,
            collector_cpu: self.collector_cpu,
            hooks: self.hooks,
            control: self.control,
            manifest: std::sync::Mutex::new(self.manifest),
            endpoints: self.endpoints,
            longest_timeout: self.longest_timeout,
            #[cfg(feature = "http")]
            metrics_address: self.metrics_address,
            #[cfg(feature = "analysis")]
            process_into: self.process_into,
            #[cfg(feature = "expressions")]
            custom: self.custom,
            #[cfg(feature = "upload")]
            upload: self.upload,
            running: Some(running),
        })
    }
}

fn manifest(clock: &RunClock, config: &Resolved) -> Manifest {
    let mut facts = config.facts.clone();
    let urls: Vec<&str> = config
        .endpoints
        .iter()
        .map(|endpoint| endpoint.shown_url.as_str())
        .collect();
    facts.insert(ENDPOINTS_FACT.into(), urls.join(" "));
    facts.insert(
        "metrics.interval_secs".into(),
        config.interval.as_secs_f64().to_string(),
    );
    Manifest {
        stamp: stamp(clock.started_ns()),
        started_ns: clock.started_ns(),
        ended_ns: None,
        simulated: config.simulated,
        facts,
    }
}

fn stamp(at_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at_ns)).map_or_else(
        |_| at_ns.to_string(),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::UTC)
                .strftime("%Y%m%d_%H%M%S")
                .to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_is_utc() {
        assert_eq!(stamp(1_733_063_422_000_000_000), "20241201_143022");
    }
}
