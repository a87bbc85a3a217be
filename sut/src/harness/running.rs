//! A test from LoadGen's start to the last answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use mlperf_accuracy::Texts;
use mlperf_loadgen::{LogSettings, RunReport, TestSettings, run_test};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use vllm_client::Pool;
use vllm_metrics::{Hooks, RunClock};

use super::bridge::{Bridge, IssueGate, Library};
use super::counters::Counters;
use super::forecast::EarlyStopForecast;
use super::request_log::{RequestLog, RequestTimes};
use super::threads::WorkerThreads;
use super::worker::{Workers, dispatch};
use crate::shutdown::{Shutdown, watch_servers};
use crate::workload::BatchPrompts;

/// Longest wait for answered requests to be recorded.
const WRITE_DOWN: Duration = Duration::from_secs(5);

/// How LoadGen's thread ended.
pub(crate) type LoadGenResult = Result<RunReport, mlperf_loadgen::Error>;

/// Everything needed to start a test.
pub(crate) struct Setup {
    /// The servers.
    pub(crate) pool: Arc<Pool>,
    /// The version that the server reports, for LoadGen's log.
    pub(crate) server_version: Option<String>,
    /// One prepared body per sample of the dataset.
    pub(crate) bodies: Vec<Bytes>,
    /// For each sample, the tokens of its prompt and of its longest possible answer.
    pub(crate) weights: Vec<u64>,
    /// Set when a batch is sent as one request.
    pub(crate) batch_prompts: Option<BatchPrompts>,
    /// Name of the dataset in LoadGen's log.
    pub(crate) dataset: String,
    /// Prompts per request.
    pub(crate) batch_size: usize,
    /// Most requests in flight.
    pub(crate) concurrency: usize,
    /// Whether the answers' texts are kept.
    pub(crate) keeps_texts: bool,
    /// LoadGen's settings.
    pub(crate) settings: TestSettings,
    /// The fewest queries of a valid run, as LoadGen uses it.
    pub(crate) min_query_count: u64,
    /// LoadGen's log settings.
    pub(crate) logs: LogSettings,
    /// The recorder, when there is one.
    pub(crate) hooks: Option<Hooks>,
    /// The run's clock.
    pub(crate) clock: RunClock,
}

/// A running test.
pub(crate) struct RunningTest {
    /// Progress.
    pub(crate) counters: Arc<Counters>,
    /// The forecast of validity, in scenarios with latency limits.
    pub(crate) forecast: Option<Arc<EarlyStopForecast>>,
    requests: Arc<RequestLog>,
    texts: Option<Arc<Texts>>,
    gate: Arc<IssueGate>,
    tasks: TaskTracker,
    loadgen: JoinHandle<()>,
    done: Receiver<LoadGenResult>,
}

/// The result of a test.
pub(crate) struct TestResult {
    /// Progress at the end.
    pub(crate) counters: Arc<Counters>,
    /// The times of every answer.
    pub(crate) answers: Vec<RequestTimes>,
    /// The texts of the answers, if they were kept.
    pub(crate) texts: BTreeMap<usize, String>,
}

/// Starts the workers, and LoadGen on its own thread.
///
/// # Errors
/// When the system cannot create a thread.
pub(crate) fn start(setup: Setup, runtime: &Runtime, shutdown: &Shutdown) -> anyhow::Result<RunningTest> {
    let counters = Arc::new(Counters::default());
    let requests = Arc::new(RequestLog::default());
    let forecast =
        EarlyStopForecast::new(&setup.settings, setup.min_query_count, setup.clock.clone()).map(Arc::new);
    let texts = setup.keeps_texts.then(|| Arc::new(Texts::default()));
    let suspect = Arc::new(Notify::new());
    let tasks = TaskTracker::new();
    let (queue, batches) = mpsc::unbounded_channel();
    let samples = setup.bodies.len();
    let workers = Arc::new(Workers {
        pool: Arc::clone(&setup.pool),
        bodies: setup.bodies,
        weights: setup.weights,
        batch_prompts: setup.batch_prompts,
        permits: Arc::new(Semaphore::new(setup.concurrency)),
        counters: Arc::clone(&counters),
        requests: Arc::clone(&requests),
        forecast: forecast.clone(),
        hooks: setup.hooks.clone(),
        clock: setup.clock,
        stop: shutdown.stop.clone(),
        suspect: Arc::clone(&suspect),
        texts: texts.clone(),
    });
    runtime.spawn(watch_servers(setup.pool, suspect, shutdown.clone()));
    let threads =
        WorkerThreads::start(std::thread::available_parallelism().map_or(2, |count| count.get().min(4)))
            .context("cannot start the threads that serve requests")?;
    runtime.spawn(dispatch(workers, Arc::new(threads), batches, tasks.clone()));
    let gate = Arc::new(IssueGate::default());
    let bridge = Bridge {
        name: format!(
            "sut (vLLM {})",
            setup.server_version.as_deref().unwrap_or("of unknown version")
        ),
        batch_size: setup.batch_size,
        queue,
        counters: Arc::clone(&counters),
        forecast: forecast.clone(),
        hooks: setup.hooks,
        next_batch: AtomicU64::new(0),
        gate: Arc::clone(&gate),
    };
    let library = Library {
        name: setup.dataset,
        total: samples,
        performance: samples,
    };
    let (sender, done) = sync_channel(1);
    let (settings, logs) = (setup.settings, setup.logs);
    let loadgen = std::thread::Builder::new()
        .name("loadgen".into())
        .spawn(move || {
            // LoadGen sleeps until each query is due; the kernel's default timer slack of 50 us would delay
            // every query by that much.
            if let Err(error) = nix::sys::prctl::set_timerslack(1) {
                tracing::debug!("LoadGen's timer keeps its slack: {error}");
            }
            let result = run_test(&bridge, &library, &settings, &logs);
            // The receiver is gone if the run was given up.
            let _given_up = sender.send(result);
        })
        .context("cannot start LoadGen's thread")?;
    Ok(RunningTest {
        counters,
        forecast,
        requests,
        texts,
        gate,
        tasks,
        loadgen,
        done,
    })
}

impl RunningTest {
    /// LoadGen's result, if it ends within `limit`.
    pub(crate) fn ended_within(&self, limit: Duration) -> Option<LoadGenResult> {
        match self.done.recv_timeout(limit) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(mlperf_loadgen::Error::LoadGen("its thread panicked".into())))
            }
        }
    }

    /// Stops LoadGen from issuing further queries.
    pub(crate) fn close_gate(&self) {
        self.gate.close();
    }

    /// Collects the result. `ended`: LoadGen has returned, so its thread can be joined.
    pub(crate) fn collect(self, ended: bool, runtime: &Runtime) -> TestResult {
        if ended && self.loadgen.join().is_err() {
            tracing::error!("LoadGen's thread panicked");
        }
        // LoadGen finishes with the last answer, slightly before that answer is recorded.
        self.tasks.close();
        let tasks = self.tasks;
        let all_down = async { tokio::time::timeout(WRITE_DOWN, tasks.wait()).await };
        if runtime.block_on(all_down).is_err() {
            tracing::warn!("some requests were still running at the end");
        }
        TestResult {
            counters: self.counters,
            answers: self.requests.take(),
            texts: self.texts.map(|texts| texts.take()).unwrap_or_default(),
        }
    }
}
