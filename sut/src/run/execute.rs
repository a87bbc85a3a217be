//! The timed part: starts the recorder, LoadGen and the workers, and watches until the test is over or given
//! up.

use std::sync::{Arc, PoisonError};

use mlperf_dataset::Dataset;
use mlperf_loadgen::{LogSettings, Mode};
use mlperf_rules::RuleScenario;
use run_dashboard::Dashboard;
use tokio::runtime::Runtime;
use vllm_client::{Client, PrefixCaching};
use vllm_metrics::{FinishedRun, RunClock};

use super::counting::Counting;
use super::dashboard::{self, SharedCounting};
use super::prepare::{Prepared, Target};
use super::printouts;
use super::progress::Progress;
use super::screen::{Recorded, Running};
use super::watch::Watch;
use crate::exit::Fail;
use crate::harness::counters::Counters;
use crate::harness::request_log::{LatencyStats, Window};
use crate::harness::{self, LoadGenResult, Setup, TestResult};
use crate::live;
use crate::plan::{Plan, Recording, Ui};
use crate::recorder;
use crate::server::Server;
use crate::shutdown::{Shutdown, ShutdownReason, first_error};
use crate::workload::{ExpectedSamples, Load};

/// Longest wait for the scrape before the load.
const FIRST_SCRAPE: std::time::Duration = std::time::Duration::from_secs(2);

/// Longest wait for the page of metrics that shows whether there were cache hits.
const LAST_QUESTION: std::time::Duration = std::time::Duration::from_secs(1);

/// The raw results of a run, before it is judged.
pub(super) struct Executed {
    pub(super) plan: Plan,
    pub(super) server: Server,
    pub(super) dataset: Dataset,
    pub(super) load: Load,
    /// `None` under an audit file.
    pub(super) expected: Option<ExpectedSamples>,
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
    /// Serves the report to browsers.
    pub(super) dashboard: Option<Dashboard>,
    pub(super) shutdown: Shutdown,
    /// Locks the log folder until everything is written.
    pub(super) _lock: Option<std::fs::File>,
}

pub(super) fn execute(prepared: Prepared, runtime: &Runtime, shutdown: &Shutdown) -> Result<Executed, Fail> {
    let session = match &prepared.plan.metrics {
        Some(metrics) => Some(recorder::start(metrics, &prepared.subject())?),
        None => None,
    };
    let shared = SharedCounting::default();
    let dashboard_plan = prepared
        .plan
        .metrics
        .as_ref()
        .and_then(|metrics| metrics.dashboard.as_ref());
    let dashboard = match (dashboard_plan, &session) {
        (Some(plan), Some(session)) => Some(dashboard::start(plan, session, &shared)?),
        _ => None,
    };
    // Before the first scrape, so that a screen misses nothing.
    let recorded = session
        .as_ref()
        .filter(|_| prepared.plan.ui == Some(Ui::Tui))
        .map(|session| Recorded {
            subscription: live::subscribe(session),
            manifest: session.manifest(),
        });
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
    let pool = Arc::clone(&server.pool);
    let counting = Counting::start(
        Arc::clone(&running.counters),
        Arc::new(move || pool.clients().iter().map(Client::streamed_tokens).sum::<u64>()),
        &workload.load.settings,
        workload.expected.map(|expected| expected.issued),
        running.forecast.clone(),
    );
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(counting.clone());
    let mut progress = Progress::start(counting.clone(), plan.ui, || Running {
        counting,
        recorded,
        shutdown: shutdown.clone(),
        title: format!(
            "{}, {}, {}",
            server.model, plan.scenario, workload.load.settings.mode
        ),
        simulated: server.simulated(),
    });
    let watch = Watch {
        test: &running,
        shutdown,
        clock: &clock,
        server: &server,
        plan: &plan,
        settings: &workload.load.settings,
        expected: workload.expected.map(|expected| expected.issued),
    };
    let loadgen = watch.wait(&mut progress);
    progress.close();
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
    progress.finish();
    let test = running.collect(loadgen.is_some(), runtime);
    // A signal from now on ends no test any more: every query is answered.
    let reason = shutdown.reason();
    let mut load = workload.load;
    if plan.profiler {
        load.remarks
            .push("the server's profiler was on, which slows the server down (--enable-profiler)".into());
    }
    if matches!(reason, Some(ShutdownReason::Stalled(_)))
        && first_error(runtime.block_on(server.pool.check_health())).is_none()
    {
        load.remarks.push(
            "the server still answers its health route: its engine made no progress, while its API process is alive"
                .into(),
        );
    }
    // A server that does not report its setting reveals it by its cache hits.
    let caching = match (reason.is_none(), caching) {
        (true, PrefixCaching::Unknown) => runtime.block_on(last_question(server.prefix_caching())),
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
        expected: workload.expected,
        load,
        logs,
        loadgen,
        reason,
        test,
        stats,
        printed,
        recorded,
        caching,
        dashboard,
        shutdown: shutdown.clone(),
        _lock: lock,
    })
}

/// The answer to a question after the load, or unknown if the server does not answer soon.
async fn last_question(answer: impl Future<Output = PrefixCaching>) -> PrefixCaching {
    tokio::time::timeout(LAST_QUESTION, answer)
        .await
        .unwrap_or(PrefixCaching::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_a_hanging_metrics_page_only_as_long_as_the_last_question_may_take() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let begin = tokio::time::Instant::now();
            let never = last_question(std::future::pending()).await;
            assert_eq!((never, begin.elapsed()), (PrefixCaching::Unknown, LAST_QUESTION));
            let at_once = last_question(std::future::ready(PrefixCaching::On)).await;
            assert_eq!((at_once, begin.elapsed()), (PrefixCaching::On, LAST_QUESTION));
        });
    }
}
