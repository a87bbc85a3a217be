//! Requests that fail because of the server: internal errors, statuses of 500 and above, and NaN output.
//!
//! Rejections for lack of room belong to the queue predictor; client errors (400 to 499) do not count. This is
//! detection: the probability is that the errors continue.

use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Horizons, Prediction, Severity};
use crate::numeric::ewma::RatioEwma;
use crate::{Evidence, Signal, Source};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestErrors {
    memory: Option<Memory>,
    samples: u64,
    observed_secs: f64,
}

#[derive(Debug, Clone, PartialEq)]
struct Memory {
    last: Totals,
    /// Failed over ended, both decaying.
    share: RatioEwma,
    failed: f64,
    corrupted_secs_ago: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Totals {
    ended: Option<f64>,
    errors: Option<f64>,
    answered: Option<f64>,
    answered_badly: Option<f64>,
    rejected: Option<f64>,
    corrupted: Option<f64>,
}

impl Totals {
    fn of(seen: &Observation<'_>) -> Self {
        let (engine, http) = (&seen.snapshot.engine, &seen.snapshot.http);
        let fresh = |signal: Signal<f64>| signal.if_fresh();
        Self {
            ended: fresh(engine.finished_total),
            errors: fresh(engine.errors_total),
            answered: fresh(http.requests_total),
            answered_badly: fresh(http.server_errors_total),
            rejected: fresh(engine.rejected_total),
            corrupted: fresh(engine.corrupted_total),
        }
    }
}

fn increase(now: Option<f64>, before: Option<f64>) -> f64 {
    match (now, before) {
        (Some(now), Some(before)) => (now - before).max(0.0),
        // A series begins with its first event.
        (Some(now), None) => now,
        _ => 0.0,
    }
}

impl Predictor for RequestErrors {
    fn failure_type(&self) -> FailureType {
        FailureType::RequestErrors
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if let Some(reason) = seen.suspended() {
            self.memory = None;
            return Prediction::Suspended {
                reason: reason.into(),
            }
            .into();
        }
        let p = &seen.parameters.errors;
        self.observed_secs += seen.dt_secs;
        let now = Totals::of(seen);
        if now.ended.is_none() && now.answered.is_none() {
            return Prediction::needs_signal("fresh counts of requests").into();
        }
        let Some(memory) = &mut self.memory else {
            // Errors from before monitoring began do not count.
            self.memory = Some(Memory {
                last: now,
                share: RatioEwma::new(p.rate_secs),
                failed: 0.0,
                corrupted_secs_ago: None,
            });
            return Prediction::needs("pages of metrics", 1.0, 2.0).into();
        };
        if seen.rates.is_new_page && seen.rates.dt_secs > 0.0 {
            self.samples += 1;
            let dt = seen.rates.dt_secs;
            // A refusal is answered with 503 and is no error; errors of the engine are answered with 500 as well.
            let refused = increase(now.rejected, memory.last.rejected);
            let answered_badly =
                (increase(now.answered_badly, memory.last.answered_badly) - refused).max(0.0);
            let failed = increase(now.errors, memory.last.errors).max(answered_badly);
            let ended =
                increase(now.ended, memory.last.ended).max(increase(now.answered, memory.last.answered));
            memory.share.add(failed, ended.max(failed), dt);
            memory.failed = memory.failed * (-dt / p.rate_secs).exp() + failed;
            if increase(now.corrupted, memory.last.corrupted) > 0.0 {
                memory.corrupted_secs_ago = Some(0.0);
            }
            memory.last = now;
        }
        if let Some(secs) = &mut memory.corrupted_secs_ago {
            *secs += seen.dt_secs;
        }
        let share = memory.share.ratio().unwrap_or(0.0);
        let enough = memory.failed >= p.least_failed;
        let mut evidence = vec![Evidence::number(
            Source::Metrics,
            "share of requests that fail",
            share,
            "",
        )];
        let corrupted = memory.corrupted_secs_ago.filter(|secs| *secs < p.corrupted_secs);
        if let Some(secs) = corrupted {
            evidence.push(Evidence::number(
                Source::Metrics,
                "requests with NaN logits",
                secs,
                "s ago",
            ));
        }
        let fails = enough && share >= p.share;
        let condition = (fails || corrupted.is_some()).then(|| Condition {
            failure_type: FailureType::RequestErrors,
            severity: Severity::Degraded,
            evidence: evidence.clone(),
            advice: Some(match corrupted {
                Some(_) => "check the weights and the GPU's memory".into(),
                None => "look at the server's log for the errors' cause".into(),
            }),
        });
        let doubt = if enough {
            (share / p.share.max(1e-6)).min(1.0)
        } else {
            0.0
        };
        let probability = Horizons::all(if condition.is_some() {
            0.95
        } else {
            0.9 * doubt * doubt
        });
        let basis = (self.samples, self.observed_secs);
        let prediction = seen.forecast(FailureType::RequestErrors, probability, None, evidence, basis);
        Assessment {
            prediction,
            condition,
        }
    }
}
