//! `EngineWatch`: what vLLM's stat logger calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use pyo3::{intern, pyclass, pyfunction, pymethods};

use super::{Pairs, settings};
use crate::message::{FinishReason, Finished, Scheduled, Step};
use crate::watch::{Call, Fault, Limits, Watch, WatchConfig};

/// Longest a caller waits for the monitor's thread.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Calls of `record` that are still to panic, for tests.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Makes the next `count` calls of `record` in this process panic. For tests of what a fault costs the engine.
#[pyfunction]
#[pyo3(name = "_inject_panics")]
pub(super) fn inject_panics(count: u64) {
    PANICS.store(count, Ordering::Relaxed);
}

/// The monitor of the engines behind one frontend.
///
/// `record` never raises, never waits and does no I/O. The other methods raise `RuntimeError` only if the monitor's
/// thread has never answered.
#[pyclass(frozen, module = "vllm_monitor._native")]
pub(super) struct EngineWatch {
    watch: Watch,
}

impl EngineWatch {
    /// The situation at the last evaluation, for acting.
    pub(super) fn situation(&self) -> Option<monitor_acting::Situation> {
        self.watch.situation()
    }
}

#[pymethods]
impl EngineWatch {
    /// Starts the monitor's thread. `environment` and `flags` are pairs of names and values; unknown ones raise
    /// `ValueError`.
    #[new]
    #[pyo3(signature = (target, environment, flags, *, version=None, max_running=None, max_queued=None,
                        max_model_len=None, kv_blocks=None, kv_block_tokens=None, evaluate_every=1.0,
                        ring_words=131_072, output_dir=None, facts=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a Python constructor")]
    fn new(
        target: String,
        environment: Pairs,
        flags: Pairs,
        version: Option<String>,
        max_running: Option<f64>,
        max_queued: Option<f64>,
        max_model_len: Option<f64>,
        kv_blocks: Option<u64>,
        kv_block_tokens: Option<u64>,
        evaluate_every: f64,
        ring_words: usize,
        output_dir: Option<std::path::PathBuf>,
        facts: Option<std::collections::BTreeMap<String, String>>,
    ) -> PyResult<Self> {
        let settings = settings(environment, flags)?;
        let config = WatchConfig {
            limits: Limits {
                max_running,
                max_queued,
                max_model_len_tokens: max_model_len,
                kv_blocks,
                kv_block_tokens,
            },
            version,
            output_dir,
            facts: facts.unwrap_or_default(),
            evaluate_every: Duration::from_secs_f64(evaluate_every.clamp(0.05, 60.0)),
            ring_words: ring_words.clamp(64, 1 << 24),
            ..WatchConfig::new(target, settings)
        };
        let watch = Watch::start(config).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(Self { watch })
    }

    /// One call of the stat logger: `SchedulerStats` and `IterationStats` of vLLM, either of which may be `None`.
    #[pyo3(signature = (scheduler_stats, iteration_stats, engine_idx=0))]
    fn record(
        &self,
        scheduler_stats: Option<&Bound<'_, PyAny>>,
        iteration_stats: Option<&Bound<'_, PyAny>>,
        engine_idx: u32,
    ) {
        self.watch.record(|now_ns, call| {
            if PANICS.load(Ordering::Relaxed) > 0 {
                PANICS.fetch_sub(1, Ordering::Relaxed);
                panic!("injected by a test");
            }
            fill(now_ns, call, scheduler_stats, iteration_stats, engine_idx)
        });
    }

    /// Requests that the frontend has taken and not answered; prompt tokens of those without a first token.
    #[pyo3(signature = (requests, queued_prompt_tokens=0))]
    fn in_flight(&self, requests: u64, queued_prompt_tokens: u64) {
        self.watch.in_flight(requests, queued_prompt_tokens);
    }

    /// The frontend refused a request for lack of room in the queue.
    fn rejected(&self) {
        self.watch.rejected();
    }

    /// Whether vLLM itself says that its engine is dead.
    fn engine_errored(&self, errored: bool) {
        self.watch.engine_errored(errored);
    }

    /// Whether the engine sleeps.
    fn asleep(&self, asleep: bool) {
        self.watch.asleep(asleep);
    }

    /// Whether a lever is set.
    fn acting(&self, acting: bool) {
        self.watch.acting(acting);
    }

    /// Counts a fault of the Python side.
    fn fault(&self, reason: String) {
        self.watch.fault(reason);
    }

    /// The status as JSON, with every call that came before.
    fn status_json(&self, py: Python<'_>) -> PyResult<String> {
        let status = py.detach(|| self.watch.status(ANSWER_WITHIN));
        let status = status.ok_or_else(no_answer)?;
        serde_json::to_string(&status).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// The Prometheus page, with every call that came before.
    fn page(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.watch.page(ANSWER_WITHIN)).ok_or_else(no_answer)
    }

    /// The Prometheus page as written last, at most a second ago. Does not wait.
    fn latest_page(&self) -> String {
        self.watch.latest_page().unwrap_or_default()
    }

    /// Whether the engine is in service, and the lifecycle state, as evaluated last. Does not wait.
    fn health(&self) -> (bool, String, Vec<String>) {
        self.watch
            .latest(|status| (status.healthy, status.state.clone(), status.state_reasons.clone()))
            .unwrap_or_else(|| (true, "NOT_STARTED".to_owned(), Vec::new()))
    }

    /// Ends the thread. Further calls are passed over.
    fn finish(&self, py: Python<'_>) {
        py.detach(|| self.watch.finish());
    }
}

fn no_answer() -> PyErr {
    PyRuntimeError::new_err("the monitor's thread does not answer; the server's log says why")
}

fn fill(
    now_ns: i64,
    call: &mut Call<'_>,
    scheduler: Option<&Bound<'_, PyAny>>,
    iteration: Option<&Bound<'_, PyAny>>,
    engine: u32,
) -> Result<(), Fault> {
    let mut step = Step {
        at_ns: now_ns,
        engine,
        ..Step::default()
    };
    if let Some(stats) = scheduler {
        let py = stats.py();
        step.is_step = true;
        step.running = stats.getattr(intern!(py, "num_running_reqs"))?.extract()?;
        step.waiting = stats.getattr(intern!(py, "num_waiting_reqs"))?.extract()?;
        step.deferred = stats
            .getattr(intern!(py, "num_skipped_waiting_reqs"))?
            .extract()?;
        step.kv_usage_ratio = stats.getattr(intern!(py, "kv_cache_usage"))?.extract()?;
        let details = stats.getattr(intern!(py, "iteration_details"))?;
        if !details.is_none() {
            let elapsed_ms: f64 = details.getattr(intern!(py, "elapsed_ms"))?.extract()?;
            step.scheduled = Some(Scheduled {
                prefill_tokens: details.getattr(intern!(py, "num_ctx_tokens"))?.extract()?,
                decode_tokens: details.getattr(intern!(py, "num_generation_tokens"))?.extract()?,
                // A cast that is negative or no number gives 0.
                elapsed_ns: (elapsed_ms * 1e6) as u64,
            });
        }
    }
    let Some(stats) = iteration else {
        if step.is_step {
            call.step(&step);
        }
        return Ok(());
    };
    let py = stats.py();
    step.has_output = true;
    step.generation_tokens = stats.getattr(intern!(py, "num_generation_tokens"))?.extract()?;
    step.preemptions = stats.getattr(intern!(py, "num_preempted_reqs"))?.extract()?;
    step.corrupted = stats.getattr(intern!(py, "num_corrupted_reqs"))?.extract()?;
    let prompts = stats.getattr(intern!(py, "prompt_token_stats"))?;
    step.prompt_tokens = prompts.getattr(intern!(py, "total"))?.extract()?;
    if step.prompt_tokens > 0 {
        step.cached_tokens = prompts.getattr(intern!(py, "cached_tokens"))?.extract()?;
    }
    call.step(&step);
    let secs = list(stats, intern!(py, "inter_token_latencies_iter"))?;
    call.inter_token(engine, secs.len(), floats(&secs));
    let secs = list(stats, intern!(py, "time_to_first_tokens_iter"))?;
    call.first_token(engine, secs.len(), floats(&secs));
    for request in list(stats, intern!(py, "finished_requests"))? {
        finished(now_ns, call, &request, engine)?;
    }
    Ok(())
}

fn list<'py>(
    stats: &Bound<'py, PyAny>,
    name: &Bound<'py, pyo3::types::PyString>,
) -> Result<Bound<'py, PyList>, Fault> {
    stats
        .getattr(name)?
        .cast_into::<PyList>()
        .map_err(|_| Fault(format!("{name} is not a list")))
}

/// The numbers of a list; what is no number becomes NaN and is counted as refused.
fn floats<'a>(list: &'a Bound<'_, PyList>) -> impl Iterator<Item = f64> + 'a {
    list.iter().map(|number| number.extract().unwrap_or(f64::NAN))
}

fn finished(now_ns: i64, call: &mut Call<'_>, stats: &Bound<'_, PyAny>, engine: u32) -> Result<(), Fault> {
    let py = stats.py();
    let count = |name| stats.getattr(name)?.extract::<u32>();
    let secs = |name| stats.getattr(name)?.extract::<f64>();
    let id: Option<String> = stats.getattr(intern!(py, "request_id"))?.extract()?;
    let code: u64 = stats.getattr(intern!(py, "finish_reason"))?.extract()?;
    call.finished(
        now_ns,
        &Finished {
            engine,
            request_id: id.as_deref().unwrap_or(""),
            reason: FinishReason::from_code(code),
            prompt_tokens: count(intern!(py, "num_prompt_tokens"))?,
            generation_tokens: count(intern!(py, "num_generation_tokens"))?,
            preemptions: count(intern!(py, "num_preemptions"))?,
            cached_tokens: count(intern!(py, "num_cached_tokens"))?,
            e2e_secs: secs(intern!(py, "e2e_latency"))?,
            queued_secs: secs(intern!(py, "queued_time"))?,
            prefill_secs: secs(intern!(py, "prefill_time"))?,
            decode_secs: secs(intern!(py, "decode_time"))?,
        },
    );
    Ok(())
}
