//! What a watch publishes once a second and when it is asked.

use std::collections::BTreeMap;

use serde::Serialize;
use vllm_monitor::{Assessment, Evidence, FailureType, Prediction, Severity};

use crate::latency::LatencySummary;
use crate::message::FinishReason;
use crate::tally::{EngineTally, Tally};

/// Counters over all engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Engine steps, those without output included.
    pub steps: u64,
    /// Steps with output.
    pub steps_with_output: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Prompt tokens of requests whose prefill ended.
    pub prompt_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Requests that ended well: `stop`, `length` and `repetition`.
    pub completed_requests: u64,
    /// Requests that ended with an error.
    pub error_requests: u64,
    /// Requests that their client gave up.
    pub aborted_requests: u64,
}

/// One engine at its newest step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineStatus {
    /// Its index.
    pub engine: u32,
    /// Requests in the running batch.
    pub running: u32,
    /// Requests in the queue.
    pub waiting: u32,
    /// Share of KV blocks in use, 0 to 1.
    pub kv_cache_usage: f64,
    /// Steps since the start.
    pub steps: u64,
}

/// The newest result of one predictor, with the keys that the Python package and `/v1/monitor/status` promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictionStatus {
    /// What would fail.
    pub failure_type: FailureType,
    /// Probability, 0 to 1, of the failure within the longest horizon (300 s); absent without a forecast.
    pub probability: Option<f64>,
    /// Probabilities, 0 to 1, of the failure within 5, 30, 60 and 300 s; absent without a forecast.
    pub horizons: Option<[f64; 4]>,
    /// Median time to the failure in seconds, if it is to be expected within the longest horizon.
    pub time_to_failure: Option<f64>,
    /// How severe the failure is that is present now; absent if it is not present.
    pub present: Option<Severity>,
    /// Why there is no probability; empty where there is one.
    pub reason: String,
    /// The evidence for the failure that is present, otherwise for the forecast, one sentence each.
    pub evidence: Vec<String>,
}

/// All that a watch knows. Serialises to strict JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The watch runs.
    pub monitor_active: bool,
    /// At least one step was seen.
    pub engine_attached: bool,
    /// Name of the target.
    pub target: String,
    /// When this was made, in nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// Lifecycle state, such as `SERVING`.
    pub state: String,
    /// The evidence for it.
    pub state_reasons: Vec<String>,
    /// False if the engine is out of service by the monitor's evidence.
    pub healthy: bool,
    /// Requests that the frontend has taken and not answered, where it told; else running and waiting ones.
    pub active_requests: u64,
    /// Requests running in the newest step of each engine.
    pub num_running_requests: u64,
    /// Requests waiting in the newest step of each engine.
    pub num_waiting_requests: u64,
    /// Of the fullest engine; absent before the first step.
    pub kv_cache_usage: Option<f64>,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// Requests that ended well.
    pub completed_requests: u64,
    /// Requests that ended with an error.
    pub error_requests: u64,
    /// Mean duration of the steps that have one; absent before the first.
    pub avg_step_duration_ms: Option<f64>,
    /// An action is under way. This monitor observes, so it is false unless a lever is set.
    pub mitigation_in_progress: bool,
    /// Forecasts are made.
    pub predictive_detection_enabled: bool,
    /// Outcomes are learned from.
    pub continuous_learning_enabled: bool,
    /// Acting was asked for.
    pub auto_mitigation_enabled: bool,
    /// Counters over all engines.
    pub counters: Counters,
    /// Requests ended, by reason.
    pub finished_requests: BTreeMap<&'static str, u64>,
    /// Each engine.
    pub engines: Vec<EngineStatus>,
    /// Time between tokens.
    pub inter_token_latency: LatencySummary,
    /// Time to the first token.
    pub time_to_first_token: LatencySummary,
    /// The newest result of each predictor.
    pub predictions: Vec<PredictionStatus>,
    /// Firing alerts.
    pub alerts: Vec<String>,
    /// How good resolved forecasts were, by failure type: the share that was right.
    pub prediction_accuracy: BTreeMap<&'static str, f64>,
    /// Messages lost because the ring was full.
    pub dropped_messages: u64,
    /// Latencies and ids that did not fit into a message or were no numbers.
    pub refused_values: u64,
    /// Calls of the stat logger that failed, with the reason of the newest.
    pub faults: u64,
    /// Why the newest call failed.
    pub last_fault: Option<String>,
    /// Calls are passed over because too many failed.
    pub silenced: bool,
    /// The record on disk: its samples file, or why there is none.
    pub record: Option<String>,
}

impl Counters {
    pub(crate) fn of(tally: &Tally) -> Self {
        let mut all = Self::default();
        for engine in tally.engines.values() {
            let finished = |reason: FinishReason| engine.finished[reason as usize];
            all.steps += engine.steps;
            all.steps_with_output += engine.steps_with_output;
            all.generation_tokens += engine.generation_tokens;
            all.prompt_tokens += engine.prompt_tokens;
            all.preemptions += engine.preemptions;
            all.completed_requests += finished(FinishReason::Stop)
                + finished(FinishReason::Length)
                + finished(FinishReason::Repetition);
            all.error_requests += finished(FinishReason::Error) + finished(FinishReason::Other);
            all.aborted_requests += finished(FinishReason::Abort);
        }
        all
    }
}

impl EngineStatus {
    pub(crate) fn of(index: u32, engine: &EngineTally) -> Self {
        Self {
            engine: index,
            running: engine.last.running,
            waiting: engine.last.waiting + engine.last.deferred,
            kv_cache_usage: engine.last.kv_usage_ratio,
            steps: engine.steps,
        }
    }
}

impl PredictionStatus {
    /// A predictor's newest result.
    pub fn of(failure_type: FailureType, assessment: &Assessment) -> Self {
        let (forecast, reason) = match &assessment.prediction {
            Prediction::Forecast(forecast) => (Some(forecast), String::new()),
            Prediction::NotEnoughData { need } => (None, format!("not enough data: {need}")),
            Prediction::Suspended { reason } => (None, reason.to_string()),
        };
        let horizons = forecast.map(|forecast| forecast.probability.as_array());
        Self {
            failure_type,
            probability: horizons.map(|at| at[at.len() - 1]),
            horizons,
            time_to_failure: forecast
                .and_then(|forecast| forecast.time_to_failure)
                .map(|time| time.p50_secs),
            present: assessment.condition.as_ref().map(|condition| condition.severity),
            reason,
            evidence: assessment.evidence().iter().map(Evidence::to_string).collect(),
        }
    }
}
