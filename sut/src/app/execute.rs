//! The timed part: recorder and workers on, LoadGen on a thread of its own, until it is done or given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::Context;
use mlperf_loadgen::{LogSettings, run_test};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use vllm_client::PrefixCaching;
use vllm_metrics::{FinishedRun, RunClock, Session};

use super::prepare::Prepared;
use super::record;
use super::watch::{LoadGenResult, Watch};
use crate::bridge::{Bridge, Library, Turnstile};
use crate::cli::{ModeArg, ScenarioArg};
use crate::counters::Counters;
use crate::ending::{Cause, Ending, first_error, watch_servers};
use crate::exit::Fail;
use crate::lanes::Lanes;
use crate::ledger::{Ledger, Measured, Window};
use crate::load::Load;
use crate::plan::Plan;
use crate::printouts;
use crate::progress::Progress;
use crate::server::Server;
use crate::standing::Standing;
use crate::worker::{Workers, dispatch};
use mlperf_accuracy::Texts;
use mlperf_dataset::Dataset;

/// Longest wait for answered requests to be written down.
const WRITE_DOWN: Duration = Duration::from_secs(5);
/// Longest wait for the scrape that stands before all load.
const BRACKET: Duration = Duration::from_secs(2);

/// What a run left, before it is judged.
pub(super) struct Ran {
    pub(super) plan: Plan,
    pub(super) server: Server,
    /// `None` when LoadGen did not come to an end.
    pub(super) loadgen: Option<LoadGenResult>,
    pub(super) cause: Option<Cause>,
    pub(super) counters: Arc<Counters>,
    pub(super) measured: Measured,
    /// What `--print-timing` and `--print-histogram` asked for.
    pub(super) printed: String,
    pub(super) recorded: Option<Result<FinishedRun, vllm_metrics::Error>>,
    pub(super) dataset: Dataset,
    /// The answers' texts, in an accuracy run.
    pub(super) texts: BTreeMap<usize, String>,
    pub(super) load: Load,
    pub(super) logs: LogSettings,
    /// What the servers said of their prefix caching, before or after.
    pub(super) caching: PrefixCaching,
}

pub(super) fn execute(
    prepared: Prepared,
    runtime: &tokio::runtime::Runtime,
    ending: &Ending,
) -> Result<Ran, Fail> {
    let session = match &prepared.plan.metrics {
        Some(metrics) => Some(record::start(metrics, &prepared)?),
        None => None,
    };
    let clock = session
        .as_ref()
        .map_or_else(RunClock::start, |session| session.clock().clone());
    let hooks = session.as_ref().map(Session::hooks);
    if let Some(hooks) = &hooks {
        hooks.model_loaded();
    }
    if let Some(session) = &session
        && !session.scrape_now(BRACKET)
    {
        // The run is as good as with it; the recorder says in its own lines what is missing and why.
        tracing::warn!(
            "no scrape succeeded before the test: the first counters may already hold some of its load"
        );
    }
    if prepared.plan.profiler {
        runtime.block_on(prepared.server.start_profile())?;
    }

    let Prepared {
        plan,
        server,
        dataset,
        bodies,
        weights,
        together,
        load,
        logs,
        expected,
        caching,
    } = prepared;
    let counters = Arc::new(Counters::default());
    let ledger = Arc::new(Ledger::default());
    let standing = Standing::new(&load.settings).map(Arc::new);
    let suspect = Arc::new(Notify::new());
    let texts = plan.keeps_texts().then(|| Arc::new(Texts::default()));
    let tasks = TaskTracker::new();
    let (queue, batches) = mpsc::unbounded_channel();
    let workers = Arc::new(Workers {
        pool: Arc::clone(&server.pool),
        bodies,
        weights,
        together,
        permits: Arc::new(Semaphore::new(plan.concurrency)),
        counters: Arc::clone(&counters),
        ledger: Arc::clone(&ledger),
        standing: standing.clone(),
        hooks: hooks.clone(),
        clock: clock.clone(),
        stop: ending.stop.clone(),
        suspect: Arc::clone(&suspect),
        texts: texts.clone(),
    });
    runtime.spawn(watch_servers(Arc::clone(&server.pool), suspect, ending.clone()));
    let lanes = Lanes::start(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .context("cannot start the threads that serve requests")?;
    runtime.spawn(dispatch(workers, Arc::new(lanes), batches, tasks.clone()));

    let turnstile = Arc::new(Turnstile::default());
    let bridge = Bridge {
        name: format!(
            "sut (vLLM {})",
            server.version.as_deref().unwrap_or("of unknown version")
        ),
        batch_size: plan.batch_size,
        queue,
        counters: Arc::clone(&counters),
        hooks: hooks.clone(),
        next_batch: AtomicU64::new(0),
        turnstile: Arc::clone(&turnstile),
    };
    let library = Library {
        name: dataset.origin.clone(),
        total: dataset.prompts.len(),
        performance: dataset.prompts.len(),
    };
    if let Some(hooks) = &hooks {
        hooks.phase(match plan.mode {
            ModeArg::Performance | ModeArg::Both => "performance",
            ModeArg::Accuracy => "accuracy",
        });
    }
    let (done, test_done) = sync_channel(1);
    let loadgen = {
        let (settings, logs) = (load.settings.clone(), logs.clone());
        std::thread::Builder::new()
            .name("loadgen".into())
            .spawn(move || {
                // LoadGen sleeps until each query is due; with the kernel's usual slack of 50 us every one would be
                // that late.
                if let Err(error) = nix::sys::prctl::set_timerslack(1) {
                    tracing::debug!("LoadGen's timer keeps its slack: {error}");
                }
                let result = run_test(&bridge, &library, &settings, &logs);
                // Nobody listens any more when the run was cut.
                let _nobody = done.send(result);
            })
            .context("cannot start LoadGen's thread")?
    };
    let mut progress = Progress::start(expected, standing);
    let watch = Watch {
        counters: &counters,
        ending,
        clock: &clock,
        server: &server,
        plan: &plan,
        settings: &load.settings,
        expected,
        turnstile: &turnstile,
    };
    let result = watch.wait(&test_done, &mut progress);
    progress.finish();
    if ending.cause().is_none() && Counters::get(&counters.failed) > 0 {
        // Refused connections are answered so fast that LoadGen may be done before the watcher has made up its mind.
        if let Some(error) = first_error(runtime.block_on(server.pool.check_health())) {
            ending.end(Cause::ServerGone(error));
        }
    }
    if result.is_some() && loadgen.join().is_err() {
        tracing::error!("LoadGen's thread panicked");
    }
    if let Some(hooks) = &hooks {
        hooks.test_completed();
    }
    // A server that does not tell its setting shows it by its hits.
    let caching = match ending.cause() {
        None if runtime.block_on(server.prefix_caching()) == PrefixCaching::On => PrefixCaching::On,
        _ => caching,
    };
    if plan.profiler && ending.cause().is_none() {
        runtime.block_on(server.stop_profile());
    }
    let window = if plan.scenario == ScenarioArg::Offline {
        Window::LastAnswer
    } else {
        Window::AnswerOfLastQuery
    };
    // LoadGen is content with the last answer a moment before that answer is written down.
    tasks.close();
    let all_down = async { tokio::time::timeout(WRITE_DOWN, tasks.wait()).await };
    if runtime.block_on(all_down).is_err() {
        tracing::warn!("some requests were still running at the end");
    }
    let answers = ledger.take();
    let measured = Measured::from_answers(&answers, window);
    let printed = printouts::render(&plan, &answers);
    let recorded = session.map(Session::finish);
    Ok(Ran {
        plan,
        server,
        loadgen: result,
        cause: ending.cause(),
        counters,
        measured,
        printed,
        recorded,
        dataset,
        texts: texts.map(|texts| texts.take()).unwrap_or_default(),
        load,
        logs,
        caching,
    })
}
