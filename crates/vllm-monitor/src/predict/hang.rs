//! Hang: the engine makes no steps although there is work.
//!
//! The heartbeat is the step counter and any change of the gauges that steps set. The gaps between heartbeats of this
//! server are learned; with work present, a gap of several times the rare gap is a hang. The best evidence of work is
//! our own requests in flight: gauges are set by steps, so an engine that hangs while idle keeps showing 0. Where no
//! request is ours, the monitor's canary takes that role. Canaries are all alike, so a few that were answered show how
//! long one takes, even where there was too little traffic to learn the gaps.
//!
//! Long prefills, pauses, sleep, scaling, compilations and starts have no heartbeat either; they are excluded.
//!
//! Where the engine's processes are on this machine, what they do shortens or extends the bound (`activity.rs`): a
//! process that is stopped, or that sleeps while its GPUs are idle, does not compute, so there is nothing to learn
//! first; one that uses the CPU while its GPUs are idle may compile.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::activity::{Activity, ActivityTracker};
use super::{Observation, Predictor};
use crate::forecast::{
    Assessment, Condition, FailureType, HORIZONS_SECS, Horizons, Prediction, Severity, TimeToFailure,
};
use crate::numeric::quantile::LogHistogram;
use crate::{Evidence, Source};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hang {
    /// Gaps between heartbeats under load, in seconds.
    gaps: LogHistogram,
    /// Highest rate of prefill seen, in tokens per second, slowly forgotten.
    prefill_rate: f64,
    /// Longest mean prompt seen, in tokens, slowly forgotten.
    longest_prompt_tokens: f64,
    /// Canaries that were answered.
    canaries_answered: f64,
    /// Longest time to the token of one, in seconds, slowly forgotten.
    longest_canary_secs: f64,
    #[serde(skip)]
    live: Live,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Live {
    /// Time without a heartbeat while there was work, in observed seconds.
    silent_secs: f64,
    last_age_secs: f64,
    /// The page before showed work, or steps since the one before it.
    had_work: bool,
    grace_secs: f64,
    observed_secs: f64,
    activity: ActivityTracker,
    /// Time of the canary that was answered last.
    canary_secs: Option<f64>,
    /// Of each data-parallel member: its steps, and its silence while it had work.
    members: Vec<(Arc<str>, f64, f64)>,
}

impl Default for Hang {
    fn default() -> Self {
        Self {
            gaps: LogHistogram::new(100_000.0),
            prefill_rate: 0.0,
            longest_prompt_tokens: 0.0,
            canaries_answered: 0.0,
            longest_canary_secs: 0.0,
            live: Live::default(),
        }
    }
}

/// Canaries that must have been answered before their times are believed.
const ENOUGH_CANARIES: f64 = 3.0;

/// The sources that report work.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    own: bool,
    canary: bool,
    gauges: bool,
    /// One of our own requests made progress lately, so the engine is not hung.
    progress: bool,
}

impl Work {
    fn of(seen: &Observation<'_>, silent_secs: f64) -> Self {
        let snapshot = seen.snapshot;
        let positive = |signal: crate::Signal<f64>| signal.if_fresh().is_some_and(|value| value > 0.0);
        let own = positive(snapshot.own.in_flight);
        let since = snapshot.own.since_progress_secs.if_fresh();
        let loaded = (snapshot.engine.running + snapshot.engine.waiting)
            .if_fresh()
            .unwrap_or(0.0);
        // Requests that wait for transferred blocks or an adapter need no steps.
        let deferred = snapshot.engine.waiting_deferred.if_fresh().unwrap_or(0.0);
        Self {
            own,
            canary: positive(snapshot.canary.waiting_secs),
            gauges: loaded - deferred > 0.0,
            progress: own && since.is_some_and(|since| since < silent_secs.max(2.0)),
        }
    }

    fn any(self) -> bool {
        self.own || self.canary || self.gauges
    }
}

impl Hang {
    /// Time without a heartbeat, with work present, from which on the engine counts as hung, in seconds, if nothing is
    /// known of its processes.
    fn bound_secs(&self, seen: &Observation<'_>) -> f64 {
        let p = &seen.parameters.hang;
        let learned = match self.gaps.quantile(p.gap_quantile) {
            Some(rare) if self.gaps.total() >= p.min_gaps => p.gap_factor * rare,
            _ => p.untaught_secs,
        };
        p.floor_secs.max(learned).max(self.prefill_secs(seen))
    }

    /// Time that the longest prompt takes, with a margin.
    fn prefill_secs(&self, seen: &Observation<'_>) -> f64 {
        let p = &seen.parameters.hang;
        // A source that counts every step sees each chunk of a long prefill.
        let needs_prefill = seen.snapshot.engine.exact_steps_total.is_absent() && self.prefill_rate > 0.0;
        let prompt = seen
            .snapshot
            .own
            .queued_prompt_tokens
            .if_fresh()
            .unwrap_or(0.0)
            .max(self.longest_prompt_tokens);
        if needs_prefill {
            p.prefill_factor * prompt / self.prefill_rate
        } else {
            0.0
        }
    }

    /// Wait of a canary from which on, without a step, the engine counts as hung, in seconds.
    fn canary_bound_secs(&self, seen: &Observation<'_>, activity: Activity) -> f64 {
        let p = &seen.parameters.hang;
        // A busy CPU may compile for the requests before it.
        if self.canaries_answered < ENOUGH_CANARIES || matches!(activity, Activity::Cpu) {
            return p.canary_secs;
        }
        p.floor_secs
            .max(p.gap_factor * self.longest_canary_secs)
            .max(self.prefill_secs(seen))
            .min(p.canary_secs)
    }

    fn learn_canary(&mut self, seen: &Observation<'_>) {
        let Some(secs) = seen
            .snapshot
            .canary
            .last
            .if_fresh()
            .and_then(|last| last.first_token_secs.filter(|_| last.ok))
        else {
            return;
        };
        // A result stays in the snapshots until the next one.
        if self.live.canary_secs.replace(secs) != Some(secs) {
            self.canaries_answered += 1.0;
            self.longest_canary_secs = (self.longest_canary_secs * 0.99).max(secs);
        }
    }

    /// Silence and its bound, as far as the engine's processes allow a judgement; the one nearer to a hang.
    fn judged(&self, seen: &Observation<'_>, activity: Activity, silent_secs: f64) -> (f64, f64) {
        let p = &seen.parameters.hang;
        let bound = self.bound_secs(seen);
        match activity {
            Activity::Unknown | Activity::Gpu => (silent_secs, bound),
            // A stopped process serves no one, with or without a request.
            Activity::Stopped(secs) => (secs.max(silent_secs), p.floor_secs),
            Activity::Still(secs) => {
                let still = (silent_secs.min(secs), p.still_secs.max(self.prefill_secs(seen)));
                if still.0 * bound >= silent_secs * still.1 {
                    still
                } else {
                    (silent_secs, bound)
                }
            }
            // Idle GPUs and a busy CPU: a compilation, or a server that computes on the CPU.
            Activity::Cpu => (silent_secs, bound.max(p.untaught_secs)),
        }
    }

    fn learn(&mut self, seen: &Observation<'_>, work: Work, age_secs: f64) {
        let rates = seen.rates;
        if let Some(rate) = rates.prefill_tokens.if_fresh() {
            self.prefill_rate = (self.prefill_rate * 0.9999).max(rate);
        }
        if let Some(tokens) = rates.mean_prompt_tokens.if_fresh() {
            self.longest_prompt_tokens = (self.longest_prompt_tokens * 0.9999).max(tokens);
        }
        let moved = age_secs < self.live.last_age_secs + rates.dt_secs * 0.5;
        // A gap counts only if there was work when it began; otherwise the server was idle.
        if moved && self.live.had_work && rates.dt_secs > 0.0 {
            self.gaps.add(self.live.last_age_secs.max(0.0) + rates.dt_secs);
        }
        self.live.last_age_secs = age_secs;
        self.live.had_work = work.gauges || moved;
    }

    fn members(&mut self, seen: &Observation<'_>) -> Option<(Arc<str>, f64)> {
        let members = &seen.snapshot.engine.members;
        if members.is_empty() {
            self.live.members.clear();
            return None;
        }
        let before = std::mem::take(&mut self.live.members);
        for member in members {
            let steps = member.steps_total.if_fresh().unwrap_or(0.0);
            let has_work = (member.running + member.waiting)
                .if_fresh()
                .is_some_and(|n| n > 0.0);
            let known = before.iter().find(|(engine, ..)| *engine == member.engine);
            let silent = match known {
                Some((_, then, silent)) if has_work && steps <= *then => silent + seen.dt_secs,
                _ => 0.0,
            };
            self.live
                .members
                .push((Arc::clone(&member.engine), steps, silent));
        }
        self.live
            .members
            .iter()
            .max_by(|a, b| a.2.total_cmp(&b.2))
            .map(|(engine, _, silent)| (Arc::clone(engine), *silent))
    }
}

impl Predictor for Hang {
    fn failure_type(&self) -> FailureType {
        FailureType::Hang
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        let p = &seen.parameters.hang;
        if let Some(reason) = seen.suspended() {
            self.live = Live {
                grace_secs: p.grace_secs,
                ..Live::default()
            };
            return Prediction::Suspended {
                reason: reason.into(),
            }
            .into();
        }
        let Some(age_secs) = seen.rates.heartbeat_age_secs.last() else {
            return Prediction::needs_signal("a heartbeat: vllm:iteration_tokens_total").into();
        };
        if !seen.snapshot.engine.steps_total.is_fresh() && !seen.snapshot.engine.exact_steps_total.is_fresh()
        {
            return Prediction::needs_signal("fresh metrics: without them a hang looks like a lost network")
                .into();
        }
        let work = Work::of(seen, self.live.silent_secs);
        if seen.rates.is_new_page {
            self.learn(seen, work, age_secs);
        }
        self.learn_canary(seen);
        self.live.observed_secs += seen.dt_secs;
        self.live.grace_secs = (self.live.grace_secs - seen.dt_secs).max(0.0);
        let is_silent = work.any() && !work.progress && self.live.grace_secs <= 0.0;
        self.live.silent_secs = if is_silent {
            (self.live.silent_secs + seen.dt_secs).min(age_secs)
        } else {
            0.0
        };

        let activity = self.live.activity.update(seen);
        let (own_silent_secs, bound_secs) = self.judged(seen, activity, self.live.silent_secs);
        let slow_member = self.members(seen).filter(|(_, silent)| *silent > own_silent_secs);
        let silent_secs = slow_member
            .as_ref()
            .map_or(own_silent_secs, |(_, silent)| *silent);
        let without_step_secs = slow_member
            .as_ref()
            .map_or(self.live.silent_secs, |(_, silent)| *silent);
        let mut evidence = Vec::new();
        if without_step_secs > 0.0 || !matches!(activity, Activity::Stopped(_)) {
            evidence.push(Evidence::number(
                Source::Metrics,
                "no step with work present for",
                without_step_secs,
                "s",
            ));
        }
        evidence.push(Evidence::number(Source::Model, "usual maximum", bound_secs, "s"));
        evidence.extend(activity.evidence().filter(|_| silent_secs > 0.0));
        if silent_secs > 0.0 {
            if work.own {
                evidence.push(Evidence::text(
                    Source::OwnRequests,
                    "requests of our own are in flight",
                ));
            }
            if work.canary {
                evidence.push(Evidence::text(
                    Source::Canary,
                    "the canary waits for its first token",
                ));
            }
            if work.gauges {
                evidence.push(Evidence::text(
                    Source::Metrics,
                    "the server reports running or waiting requests",
                ));
            }
            if let Some((engine, _)) = &slow_member {
                evidence.push(Evidence::text(
                    Source::Peers,
                    format!("only engine {engine} makes no progress"),
                ));
            }
        }
        let canary_bound_secs = self.canary_bound_secs(seen, activity);
        let canary_stuck = seen
            .snapshot
            .canary
            .waiting_secs
            .if_fresh()
            .is_some_and(|secs| secs >= canary_bound_secs);
        let is_hung = silent_secs >= bound_secs || (canary_stuck && silent_secs >= p.floor_secs);
        let condition = (is_hung && self.live.grace_secs <= 0.0).then(|| Condition {
            failure_type: FailureType::Hang,
            severity: if slow_member.is_some() {
                Severity::Degraded
            } else {
                Severity::Failed
            },
            evidence: evidence.clone(),
            advice: Some(match activity {
                Activity::Stopped(_) => {
                    "the engine's process is stopped: end the debugger, or send SIGCONT, or restart it".into()
                }
                _ => "the engine must be restarted; /health answers 200 as long as its process exists".into(),
            }),
        });
        let basis = (self.gaps.total() as u64, self.live.observed_secs);
        let probability = posterior(silent_secs, bound_secs, p.gap_factor, p.prior_per_hour);
        let when = is_hung.then_some(TimeToFailure {
            p10_secs: 0.0,
            p50_secs: 0.0,
            p90_secs: Some(0.0),
        });
        let prediction = seen.forecast(FailureType::Hang, probability, when, evidence, basis);
        Assessment {
            prediction,
            condition,
        }
    }
}

/// Posterior probability of a hang: the prior odds that a hang began within the gap, divided by the tail probability of
/// a gap of that length. Beyond the rare gap the tail is assumed to fall with the sixth power. A new hang may begin
/// within the horizon at the prior rate.
fn posterior(silent_secs: f64, bound_secs: f64, gap_factor: f64, prior_per_hour: f64) -> Horizons {
    let per_sec = prior_per_hour / 3600.0;
    let rare = bound_secs / gap_factor;
    let survival = if silent_secs <= rare {
        1.0
    } else {
        1e-3 * (rare / silent_secs).powi(6)
    };
    let now = if silent_secs <= 0.0 {
        0.0
    } else {
        let odds = per_sec * silent_secs / survival;
        odds / (1.0 + odds)
    };
    Horizons::new(HORIZONS_SECS.map(|secs| now + (1.0 - now) * (1.0 - (-per_sec * secs).exp())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_judged_by_how_rare_it_is() {
        let at = |silent: f64| posterior(silent, 6.0, 4.0, 0.01).as_array()[0];
        assert!(
            at(0.0) < 1e-3 && at(1.5) < 1e-2,
            "usual gaps say nothing: {} {}",
            at(0.0),
            at(1.5)
        );
        assert!(at(6.0) > 0.9, "the bound is beyond doubt: {}", at(6.0));
        assert!(
            [1.0, 2.0, 3.0, 4.0, 5.0]
                .windows(2)
                .all(|pair| at(pair[0]) <= at(pair[1]))
        );
    }
}
