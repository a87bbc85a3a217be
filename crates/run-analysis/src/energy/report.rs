//! Energy figures for summaries, each with its method, rate and error.

use super::regression::Coefficient;
use super::split::{EnergySplit, SplitUnavailable, split};
use super::window::{EnergyUnavailable, WindowEnergy, energy_between, measured_window};
use super::{SENSOR_ERROR_RATIO, steps};
use run_model::{Outcome, RunData};

/// A value with the bound of its sampling error, in the same unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The value.
    pub value: f64,
    /// Bound of the sampling error, in either direction.
    pub error: f64,
}

/// Energy figures of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyReport {
    /// Energy of the measured window: first request issued to last answered.
    pub window: WindowEnergy,
    /// Requests answered in the window.
    pub completed_requests: u64,
    /// Output tokens in the window, and their source: `requests` or `counters`.
    pub output_tokens: Option<(f64, &'static str)>,
    /// Joules per output token.
    pub joules_per_output_token: Option<Figure>,
    /// Joules per answered request.
    pub joules_per_request: Option<Figure>,
    /// Output tokens per joule.
    pub output_tokens_per_joule: Option<Figure>,
    /// Prefill, decode and base, or why they cannot be separated.
    pub split: Result<EnergySplit, SplitUnavailable>,
}

/// Computes the energy of the measured window of a run.
///
/// # Errors
///
/// If there is no window, or no energy in it.
pub fn report(run: &RunData) -> Result<EnergyReport, EnergyUnavailable> {
    let (from_ns, to_ns) = measured_window(run)?;
    let window = energy_between(run, from_ns, to_ns)?;
    let completed = run
        .requests
        .iter()
        .filter(|request| request.outcome == Outcome::Completed);
    let completed_requests = completed.clone().count() as u64;
    let tokens: Option<u64> = completed
        .map(|request| request.output_tokens.map(u64::from))
        .sum();
    let output_tokens = match tokens {
        Some(tokens) if tokens > 0 => Some((tokens as f64, "requests")),
        _ => counted_tokens(run, from_ns, to_ns).map(|tokens| (tokens, "counters")),
    };
    let per = |count: f64| {
        let figure = Figure {
            value: window.joules() / count,
            error: window.error_joules() / count,
        };
        (count > 0.0).then_some(figure)
    };
    let inverse = |figure: Figure| {
        let value = 1.0 / figure.value;
        (figure.value > 0.0).then_some(Figure {
            value,
            error: value * figure.error / figure.value,
        })
    };
    let joules_per_output_token = output_tokens.and_then(|(tokens, _)| per(tokens));
    Ok(EnergyReport {
        completed_requests,
        output_tokens,
        joules_per_output_token,
        joules_per_request: per(completed_requests as f64),
        output_tokens_per_joule: joules_per_output_token.and_then(inverse),
        split: split(run, from_ns, to_ns),
        window,
    })
}

fn counted_tokens(run: &RunData, from_ns: i64, to_ns: i64) -> Option<f64> {
    let counters = run
        .series
        .iter()
        .filter(|series| &*series.def.metric_name == "vllm:generation_tokens_total");
    let tokens: f64 = counters
        .map(|series| {
            steps::inside(
                &steps::of_counter(&series.timestamps_ns, &series.values),
                from_ns,
                to_ns,
            )
            .amount
        })
        .sum();
    (tokens > 0.0).then_some(tokens)
}

impl EnergyReport {
    /// The report as JSON for a summary file: base units, `null` for unavailable values, with reasons.
    pub fn to_json(&self) -> serde_json::Value {
        let figure = |figure: Option<Figure>| match figure {
            Some(Figure { value, error }) => serde_json::json!({ "value": value, "error": error }),
            None => serde_json::Value::Null,
        };
        let fitted = |fitted: Coefficient| serde_json::json!({ "value": fitted.value, "standard_error": fitted.standard_error });
        let split = match &self.split {
            Ok(split) => serde_json::json!({
                "joules_per_prefill_token": fitted(split.joules_per_prefill_token),
                "joules_per_decode_token": fitted(split.joules_per_decode_token),
                "base_watts": fitted(split.base_watts),
                "prefill_joules": fitted(split.prefill_joules()),
                "decode_joules": fitted(split.decode_joules()),
                "base_joules": fitted(split.base_joules()),
                "windows": split.fit.rows,
                "r_squared": split.fit.r_squared,
                "residual_deviation_joules": split.fit.residual_deviation,
                "residual_autocorrelation": split.fit.residual_autocorrelation,
                "tokens_from": split.tokens_from,
            }),
            Err(why) => serde_json::json!({ "unavailable": why.to_string() }),
        };
        let window = &self.window;
        serde_json::json!({
            "energy_joules": figure(Some(Figure { value: window.joules(), error: window.error_joules() })),
            "sensor_error_ratio": SENSOR_ERROR_RATIO,
            "mean_power_watts": window.mean_watts(),
            "window_seconds": window.seconds(),
            "covered_ratio": window.covered_ratio(),
            "measurement_method": window.method().map(super::Method::as_str),
            "sampling_rate_hz": window.sampling_rate_hz(),
            "gpus": window.gpus.iter().map(|gpu| serde_json::json!({
                "gpu": gpu.gpu, "energy_joules": gpu.joules, "error_joules": gpu.error_joules,
                "measurement_method": gpu.method.as_str(), "sampling_rate_hz": gpu.sampling_rate_hz,
                "covered_ratio": gpu.covered_ratio,
            })).collect::<Vec<_>>(),
            "completed_requests": self.completed_requests,
            "output_tokens": self.output_tokens.map(|(tokens, _)| tokens),
            "output_tokens_from": self.output_tokens.map(|(_, from)| from),
            "joules_per_output_token": figure(self.joules_per_output_token),
            "joules_per_request": figure(self.joules_per_request),
            "output_tokens_per_joule": figure(self.output_tokens_per_joule),
            "split": split,
            "simulated": window.simulated,
        })
    }
}
