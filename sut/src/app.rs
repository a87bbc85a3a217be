//! One run from top to bottom: prepare, run, finish. Each stage owns what the next one needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use mlperf_loadgen::{LogSettings, RunReport, run_test};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use vllm_metrics::gpu::{GpuConfig, GpuSelection};
use vllm_metrics::host::HostConfig;
use vllm_metrics::{EndpointConfig, FinishedRun, RunClock, Session, SessionBuilder};

use crate::bridge::{Bridge, Library};
use crate::cli::{ModeArg, ScenarioArg};
use crate::closing::Closing;
use crate::counters::Counters;
use crate::dataset::Dataset;
use crate::ending::{Cause, Ending, watch_server, watch_signals};
use crate::environment::Environment;
use crate::exit::{Exit, Fail};
use crate::ledger::{Ledger, Measured, Window};
use crate::load::{self, Load};
use crate::plan::{MetricsPlan, Plan};
use crate::progress::Progress;
use crate::server::{self, Server};
use crate::worker::{Together, Workers, dispatch};
use crate::{printouts, prompts, report};

/// How often the main loop looks around.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for the scrape that stands before all load.
const BRACKET: Duration = Duration::from_secs(2);
/// How long LoadGen may go on with its schedule after the run is being ended.
const DRAIN: Duration = Duration::from_secs(20);

/// Everything that is ready before load is sent.
struct Prepared {
    plan: Plan,
    server: Server,
    dataset: Dataset,
    bodies: Vec<Bytes>,
    together: Option<Together>,
    load: Load,
    logs: LogSettings,
    expected: Option<u64>,
}

/// What a run left, before it is judged.
struct Ran {
    plan: Plan,
    server: Server,
    /// `None` when LoadGen did not come to an end.
    loadgen: Option<LoadGenResult>,
    cause: Option<Cause>,
    counters: Arc<Counters>,
    measured: Measured,
    /// What `--print-timing` and `--print-histogram` asked for.
    printed: String,
    recorded: Option<Result<FinishedRun, vllm_metrics::Error>>,
    load: Load,
    logs: LogSettings,
}

/// Runs a test as planned and returns the program's exit status.
///
/// # Errors
/// [`Fail`] when no load was sent, or when the run's files could not be made.
pub fn run(plan: Plan) -> Result<Exit, Fail> {
    if let Err(error) = vllm_client::raise_open_files_limit() {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .thread_name("sut-worker")
        .enable_all()
        .build()
        .context("cannot start the worker threads")?;
    let ending = Ending::default();
    {
        let _entered = runtime.enter();
        let signals = watch_signals(ending.clone()).context("cannot watch for signals")?;
        runtime.spawn(signals);
    }
    let prepared = prepare(plan, &runtime, &ending)?;
    if prepared.plan.dry_run {
        report::print(&report::plan_text(
            &prepared.plan,
            &prepared.load,
            &prepared.dataset,
        ));
        runtime.block_on(prepared.server.stop());
        return Ok(Exit::Valid);
    }
    let ran = execute(prepared, &runtime, &ending)?;
    let exit = finish(ran, &runtime)?;
    // Nothing is left to wait for: what is still on the runtime belongs to a server that is gone.
    runtime.shutdown_background();
    Ok(exit)
}

fn prepare(plan: Plan, runtime: &tokio::runtime::Runtime, ending: &Ending) -> Result<Prepared, Fail> {
    let dataset = prompts::load(&plan)?;
    let mut load = load::settings(&plan, dataset.prompts.len())?;
    let logs = load::logs(&plan)?;
    let server = runtime.block_on(async {
        tokio::select! {
            biased;
            // Dropping the start kills a server that is still loading: nothing is left behind.
            () = ending.stop.cancelled() => Err(Fail::partial(anyhow!("interrupted before any load was sent"))),
            started = server::start(&plan) => started,
        }
    })?;
    let bodies = prompts::bodies(&plan, &dataset, &server)?;
    if dataset.synthetic {
        load.remarks
            .push(format!("the prompts are made up: {}", dataset.origin));
    }
    let together = if plan.batch_size > 1 {
        Some(prompts::together(&plan, &dataset, &server)?)
    } else {
        None
    };
    if let Some(metrics) = &plan.metrics {
        check_folder(&metrics.output_dir)?;
    }
    let expected = load::expected_queries(&load.settings, dataset.prompts.len());
    Ok(Prepared {
        plan,
        server,
        dataset,
        bodies,
        together,
        load,
        logs,
        expected,
    })
}

/// Finds out before any load is sent whether the record can be written.
fn check_folder(folder: &std::path::Path) -> Result<(), Fail> {
    let unusable =
        |error: std::io::Error| Fail::usage(anyhow!("--metrics-output-dir {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(unusable)?;
    tempfile::tempfile_in(folder).map_err(unusable)?;
    Ok(())
}

fn start_session(metrics: &MetricsPlan, prepared: &Prepared) -> Result<Session, Fail> {
    let plan = &prepared.plan;
    let url = metrics
        .url
        .clone()
        .unwrap_or_else(|| format!("{}/metrics", prepared.server.url));
    let mut endpoint = EndpointConfig::new(url).expect("vllm:*");
    // The key belongs to the server, and to nobody else that --metrics-url may name.
    if let Some(key) = &plan.api_key
        && metrics
            .url
            .as_ref()
            .is_none_or(|url| url.starts_with(&prepared.server.url))
    {
        endpoint = endpoint.bearer(key);
    }
    let mut builder = Session::builder()
        .endpoint(endpoint)
        .interval(metrics.interval)
        .output_dir(&metrics.output_dir)
        .format(report::store_format(metrics.format))
        .simulated(prepared.server.simulated());
    for (key, value) in report::facts(plan, &prepared.load.settings, &prepared.server, &prepared.dataset) {
        builder = builder.fact(key, value);
    }
    // A folder that cannot be written is the user's to mend, and no load has been sent.
    samplers(builder, metrics, &prepared.server)
        .start()
        .map_err(Fail::usage)
}

/// Adds the samplers of GPUs and host, each on a thread of its own.
fn samplers(builder: SessionBuilder, metrics: &MetricsPlan, server: &Server) -> SessionBuilder {
    let server_pid = server.pid().and_then(|pid| u32::try_from(pid).ok());
    let host = HostConfig {
        interval: metrics.interval,
        server_pid,
        ..HostConfig::default()
    };
    let builder = builder.host(host);
    let selection = match (&metrics.gpus, server_pid) {
        (Some(indices), _) => GpuSelection::Indices(indices.clone()),
        // Other people's GPUs on a shared machine must not count into this run's energy.
        (None, Some(pid)) => GpuSelection::ServerProcess(pid),
        (None, None) => GpuSelection::All,
    };
    if !metrics.gpu || (metrics.gpus.is_none() && !server.is_on_this_host()) {
        return builder;
    }
    let library = server.simulated_gpu_library().map(std::path::Path::to_owned);
    let gpu = GpuConfig {
        simulated: library.is_some(),
        library,
        interval: metrics.gpu_interval,
        selection,
        server_pid,
        ..GpuConfig::default()
    };
    builder.gpu(gpu)
}

fn execute(prepared: Prepared, runtime: &tokio::runtime::Runtime, ending: &Ending) -> Result<Ran, Fail> {
    let session = match &prepared.plan.metrics {
        Some(metrics) => Some(start_session(metrics, &prepared)?),
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
        runtime
            .block_on(prepared.server.client.start_profile())
            .map_err(|error| Fail::usage(anyhow!(error).context("--enable-profiler")))?;
    }

    let Prepared {
        plan,
        server,
        dataset,
        bodies,
        together,
        load,
        logs,
        expected,
    } = prepared;
    let counters = Arc::new(Counters::default());
    let ledger = Arc::new(Ledger::default());
    let suspect = Arc::new(Notify::new());
    let tasks = TaskTracker::new();
    let (queue, batches) = mpsc::unbounded_channel();
    let workers = Arc::new(Workers {
        client: server.client.clone(),
        bodies,
        together,
        permits: Arc::new(Semaphore::new(plan.concurrency)),
        counters: Arc::clone(&counters),
        ledger: Arc::clone(&ledger),
        hooks: hooks.clone(),
        clock: clock.clone(),
        stop: ending.stop.clone(),
        suspect: Arc::clone(&suspect),
    });
    runtime.spawn(watch_server(server.client.clone(), suspect, ending.clone()));
    runtime.spawn(dispatch(workers, batches, tasks.clone()));

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
    };
    let library = Library {
        name: dataset.origin.clone(),
        total: dataset.prompts.len(),
        performance: dataset.prompts.len(),
    };
    if let Some(hooks) = &hooks {
        hooks.phase(match plan.mode {
            ModeArg::Performance => "performance",
            ModeArg::Accuracy => "accuracy",
        });
    }
    let (done, test_done) = sync_channel(1);
    let loadgen = {
        let (settings, logs) = (load.settings.clone(), logs.clone());
        std::thread::Builder::new()
            .name("loadgen".into())
            .spawn(move || {
                let result = run_test(&bridge, &library, &settings, &logs);
                // Nobody listens any more when the run was cut.
                let _nobody = done.send(result);
            })
            .context("cannot start LoadGen's thread")?
    };
    let mut progress = Progress::start(expected);
    let watch = Watch {
        counters: &counters,
        ending,
        clock: &clock,
        server: &server,
        plan: &plan,
    };
    let result = watch.wait(&test_done, &mut progress);
    progress.finish();
    if ending.cause().is_none() && Counters::get(&counters.failed) > 0 {
        // Refused connections are answered so fast that LoadGen may be done before the watcher has made up its mind.
        if let Err(error) = runtime.block_on(server.client.health()) {
            ending.end(Cause::ServerGone(error.to_string()));
        }
    }
    if result.is_some() && loadgen.join().is_err() {
        tracing::error!("LoadGen's thread panicked");
    }
    if let Some(hooks) = &hooks {
        hooks.test_completed();
    }
    if plan.profiler
        && ending.cause().is_none()
        && let Err(error) = runtime.block_on(server.client.stop_profile(Duration::from_secs(300)))
    {
        tracing::warn!("the profiler could not be stopped: {error}");
    }
    let window = if plan.scenario == ScenarioArg::Offline {
        Window::LastAnswer
    } else {
        Window::AnswerOfLastQuery
    };
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
        load,
        logs,
    })
}

/// What the main loop looks at while LoadGen runs.
struct Watch<'a> {
    counters: &'a Counters,
    ending: &'a Ending,
    clock: &'a RunClock,
    server: &'a Server,
    plan: &'a Plan,
}

/// How LoadGen's thread ended.
pub(crate) type LoadGenResult = Result<RunReport, mlperf_loadgen::Error>;

impl Watch<'_> {
    /// Every single request has limits of its own, so silence for longer than the longest of them is a bug somewhere;
    /// before that, a long answer may simply be streaming.
    fn silence_limit(&self) -> Duration {
        self.plan.request_timeout.max(self.plan.stall_timeout) + DRAIN
    }

    /// Waits for LoadGen's end, showing progress and watching for a run that cannot end. `None`: LoadGen was given
    /// up.
    fn wait(
        &self,
        test_done: &std::sync::mpsc::Receiver<LoadGenResult>,
        progress: &mut Progress,
    ) -> Option<LoadGenResult> {
        let mut quiet_since_ns = self.clock.now_ns();
        let mut give_up: Option<Instant> = None;
        loop {
            match test_done.recv_timeout(LOOK_EVERY) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Err(mlperf_loadgen::Error::LoadGen("its thread panicked".into())));
                }
            }
            progress.tick(self.counters);
            if self.ending.cause().is_some() {
                let deadline = *give_up.get_or_insert_with(|| Instant::now() + DRAIN);
                if Instant::now() >= deadline || self.ending.now.is_cancelled() {
                    return None;
                }
            } else if let Some(died) = self.server.has_died() {
                self.ending.end(Cause::ServerGone(died.to_string()));
            } else if self.counters.outstanding() == 0 {
                quiet_since_ns = self.clock.now_ns();
            } else {
                let last_ns = self
                    .counters
                    .last_answer_ns
                    .load(Ordering::Relaxed)
                    .max(quiet_since_ns);
                let silent = Duration::from_nanos(u64::try_from(self.clock.now_ns() - last_ns).unwrap_or(0));
                let limit = self.silence_limit();
                if silent > limit {
                    self.ending.end(Cause::Stalled(limit));
                }
            }
        }
    }
}

fn finish(ran: Ran, runtime: &tokio::runtime::Runtime) -> Result<Exit, Fail> {
    let Ran {
        plan,
        server,
        loadgen,
        cause,
        counters,
        measured,
        printed,
        recorded,
        load,
        logs,
    } = ran;
    let simulated = server.simulated();
    let mut remarks = load.remarks;
    let ended = report::Ended {
        loadgen,
        cause: cause.as_ref(),
        round: &load.round,
        logs: &logs,
        issue_delays_ns: &measured.issue_delay_ns,
        simulated,
    };
    let judged = report::judge(ended, &mut remarks);
    let mut files: Vec<(&'static str, PathBuf)> = vec![("LoadGen logs", plan.log_dir.clone())];
    let mut recorder = Vec::new();
    if let (Some(metrics), Some(recorded)) = (&plan.metrics, recorded) {
        match recorded {
            Ok(finished) => report::record(metrics, &finished, &mut files, &mut recorder),
            // The run itself is as good as before; only its record is not.
            Err(error) => recorder.push(format!("THE RECORD WAS NOT FINISHED: {error}")),
        }
    }
    let environment = plan.log_dir.join("environment.json");
    match Environment::read(server.version.as_deref()).write(&environment) {
        Ok(()) => files.push(("environment", environment)),
        Err(error) => remarks.push(format!("{} could not be written: {error}", environment.display())),
    }
    runtime.block_on(server.stop());
    let closing = Closing {
        title: format!(
            "{}, {}, {}",
            plan.model.as_deref().unwrap_or(&plan.benchmark),
            load.settings.scenario,
            load.settings.mode
        ),
        simulated,
        result: judged.result,
        remarks,
        issued: Counters::get(&counters.issued),
        failures: counters.failures(),
        loadgen_tokens_per_sec: judged.tokens_per_sec,
        measured,
        has_first_token: plan.scenario != ScenarioArg::Offline,
        recorder,
        files,
    };
    report::print(&printed);
    report::print(&closing.render());
    Ok(judged.exit)
}
