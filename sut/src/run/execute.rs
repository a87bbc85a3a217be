//! The timed part: starts the recorder, LoadGen and the workers, and watches until the test is over or given
//! up.

use mlperf_dataset::Dataset;
use mlperf_loadgen::{LogSettings, Mode};
use mlperf_rules::RuleScenario;
use tokio::runtime::Runtime;
use vllm_client::PrefixCaching;
use vllm_metrics::{FinishedRun, RunClock};

use super::prepare::{Prepared, Target};
use super::printouts;
use super::progress::Progress;
use super::watch::Watch;
use crate::exit::Fail;
use crate::harness::counters::Counters;
use crate::harness::request_log::{LatencyStats, Window};
use crate::harness::{self, LoadGenResult, Setup, TestResult};
use crate::plan::{Plan, Recording};
use crate::recorder;
use crate::server::Server;
use crate::shutdown::{Shutdown, ShutdownReason, first_error};
use crate::workload::Load;

/// Longest wait for the scrape before the load.
const FIRST_SCRAPE: std::time::Duration = std::time::Duration::from_secs(2);

/// The raw results of a run, before it is judged.
pub(super) struct Executed {
    pub(super) plan: Plan,
    pub(super) server: Server,
    pub(super) dataset: Dataset,
    pub(super) load: Load,
    pub(super) logs: LogSettings,
    /// `None` when LoadGen did not end.
    pub(super) loadgen: Option<LoadGenResult>,
    pub(super) reason: Option<ShutdownReason>,
    pub(super) test: TestResult,
    pub(super) stats: LatencyStats,
    /// The output of `--print-timing` and `--print-histogram`.
    pub(super) printed: String,
    pub(super) recorded: Option<Result<FinishedRun, vllm_metrics::Error>>,
    /// The servers' prefix caching, as reported before or after the run.
    pub(super) caching: PrefixCaching,
    /// Locks the log folder until everything is written.
    pub(super) _lock: Option<std::fs::File>,
}

pub(super) fn execute(prepared: Prepared, runtime: &Runtime, shutdown: &Shutdown) -> Result<Executed, Fail> {
    let session = match &prepared.plan.metrics {
        Some(metrics) => Some(recorder::start(metrics, &prepared.subject())?),
        None => None,
    };
    let clock = session
        .as_ref()
        .map_or_else(RunClock::start, |session| session.clock().clone());
    let hooks = session.as_ref().map(|session| session.hooks());
    if let Some(hooks) = &hooks {
        hooks.model_loaded();
    }
    if let Some(session) = &session
        && !session.scrape_now(FIRST_SCRAPE)
    {
        // The run is unaffected; the recorder reports what is missing and why.
        tracing::warn!(
            "no scrape succeeded before the test: the first counters may already hold some of its load"
        );
    }
    let Prepared {
        plan,
        target: Target { server, caching },
        workload,
        logs,
        lock,
    } = prepared;
    if plan.profiler {
        runtime.block_on(server.start_profile())?;
    }
    if let Some(hooks) = &hooks {
        hooks.phase(match plan.mode {
            Mode::Accuracy => "accuracy",
            _ => "performance",
        });
    }
    let running = harness::start(
        Setup {
            pool: server.pool.clone(),
            server_version: server.version.clone(),
            bodies: workload.bodies,
            weights: workload.weights,
            batch_prompts: workload.batch_prompts,
            dataset: workload.dataset.origin.clone(),
            batch_size: plan.batch_size,
            concurrency: plan.concurrency,
            keeps_texts: plan.keeps_texts(),
            settings: workload.load.settings.clone(),
            min_query_count: workload.load.effective.min_query_count,
            logs: logs.clone(),
            hooks: hooks.clone(),
            clock: clock.clone(),
        },
        runtime,
        shutdown,
    )?;
    let mut progress = Progress::start(workload.expected, running.forecast.clone());
    let watch = Watch {
        test: &running,
        shutdown,
        clock: &clock,
        server: &server,
        plan: &plan,
        settings: &workload.load.settings,
        expected: workload.expected,
    };
    let loadgen = watch.wait(&mut progress);
    progress.finish();
    if shutdown.reason().is_none() && Counters::get(&running.counters.failed) > 0 {
        // Refused connections fail so fast that LoadGen may be done before the watcher has reached a
        // decision.
        if let Some(error) = first_error(runtime.block_on(server.pool.check_health())) {
            shutdown.begin(ShutdownReason::ServerGone(error));
        }
    }
    // The measured phase ends here, since writing the profiler's trace below may take minutes.
    if let Some(hooks) = &hooks {
        hooks.test_completed();
    }
    let test = running.collect(loadgen.is_some(), runtime);
    // A signal from now on ends no test any more: every query is answered.
    let reason = shutdown.reason();
    let mut load = workload.load;
    if matches!(reason, Some(ShutdownReason::Stalled(_)))
        && first_error(runtime.block_on(server.pool.check_health())).is_none()
    {
        load.remarks.push(
            "the server still answers its health route: its engine made no progress, while its API process is alive"
                .into(),
        );
    }
    // A server that does not report its setting reveals it by its cache hits.
    let caching = match reason {
        None if runtime.block_on(server.prefix_caching()) == PrefixCaching::On => PrefixCaching::On,
        _ => caching,
    };
    let recorded = session.map(Recording::finish);
    if plan.profiler && reason.is_none() {
        tracing::info!("waiting for the server to write its profiler trace");
        runtime.block_on(async {
            tokio::select! {
                () = server.stop_profile() => {}
                () = shutdown.stop.cancelled() => tracing::warn!("the profiler trace may be incomplete"),
            }
        });
    }
    let window = if plan.scenario == RuleScenario::Offline {
        Window::LastAnswer
    } else {
        Window::AnswerOfLastQuery
    };
    let stats = LatencyStats::from_answers(&test.answers, window);
    let printed = printouts::render(&plan, &test.answers);
    Ok(Executed {
        plan,
        server,
        dataset: workload.dataset,
        load,
        logs,
        loadgen,
        reason,
        test,
        stats,
        printed,
        recorded,
        caching,
        _lock: lock,
    })
}
