//! KV preemption onset: when the KV cache will be full.
//!
//! The level is the share of blocks in use. Its drift is estimated in two ways. The first is the trend of the
//! level itself. The second is a fluid model: requests are admitted at some rate, and each holds its context for its
//! number of tokens times the time per token, so the level tends to `rate × stay × context / capacity` and approaches it
//! within one stay. A rising rate shows in the model one stay earlier than in the level.
//!
//! Rejected: adding the tokens of waiting prompts to the level. It made no difference on ramps, and waiting prompts
//! often wait for compute, not for blocks.

use super::balance::Balance;
use super::passage::Passage;
use super::rate::RateEstimator;
use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Prediction, Severity};
use crate::numeric::ewma::{Ewma, LineEwma, RatioEwma};
use crate::numeric::trend::Trend;
use crate::{Evidence, Source};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KvPreemption {
    memory: Option<Memory>,
}

#[derive(Debug, Clone, PartialEq)]
struct Memory {
    level: Trend,
    admissions: RateEstimator,
    /// Tokens held by the batch over requests in it.
    context: RatioEwma,
    generation_tokens: Ewma,
    inter_token: RatioEwma,
    /// Time per token over requests in the batch.
    crowding: LineEwma,
    preemptions: Ewma,
    /// Largest batch since requests waited although blocks were free: the batch is limited by slots or by compute.
    places: Option<f64>,
    pages_waiting: u32,
}

impl Memory {
    fn new(seen: &Observation<'_>) -> Self {
        let p = &seen.parameters.kv;
        Self {
            level: Trend::new(p.trend_secs),
            admissions: RateEstimator::new(p.rate_secs),
            context: RatioEwma::new(p.request_secs),
            generation_tokens: Ewma::new(p.request_secs),
            inter_token: RatioEwma::new(p.rate_secs),
            crowding: LineEwma::new(2.0 * p.request_secs),
            preemptions: Ewma::new(p.rate_secs),
            places: None,
            pages_waiting: 0,
        }
    }
}

/// Usage below which waiting requests wait for batch slots or compute, not for blocks.
const ROOM_RATIO: f64 = 0.9;

/// Pages in a row with such a queue after which the batch counts as full.
const PAGES_OF_QUEUE: u32 = 3;

impl Predictor for KvPreemption {
    fn failure_type(&self) -> FailureType {
        FailureType::KvPreemption
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if let Some(reason) = seen.suspended() {
            self.memory = None;
            return Prediction::Suspended {
                reason: reason.into(),
            }
            .into();
        }
        let rates = seen.rates;
        let Some(usage) = rates.kv_usage_ratio.if_fresh() else {
            return Prediction::needs_signal("a fresh vllm:kv_cache_usage_perc").into();
        };
        let memory = self.memory.get_or_insert_with(|| Memory::new(seen));
        if rates.is_new_page {
            memory.learn(seen, usage);
        }
        let condition = memory.condition(seen);
        let prediction = memory.predict(seen, usage);
        Assessment {
            prediction,
            condition,
        }
    }
}

impl Memory {
    fn learn(&mut self, seen: &Observation<'_>, usage: f64) {
        let rates = seen.rates;
        let dt = if rates.dt_secs > 0.0 { rates.dt_secs } else { 1.0 };
        self.level.add(usage, dt);
        if let Some(rate) = rates.admissions.if_fresh() {
            self.admissions.add(rate, dt);
        }
        let running = rates.running.if_fresh().unwrap_or(0.0);
        if let Some(capacity) = seen.snapshot.engine.kv_capacity_tokens.last()
            && running > 0.0
        {
            self.context.add(usage * capacity * members(seen), running, dt);
        }
        if let Some(tokens) = rates.mean_generation_tokens.if_fresh() {
            self.generation_tokens.add(tokens, dt);
        }
        if let Some(secs) = rates.inter_token_secs.if_fresh() {
            self.inter_token
                .add(secs * rates.inter_token_count, rates.inter_token_count, dt);
            self.crowding.add(running, secs, rates.inter_token_count, dt);
        }
        self.preemptions
            .add(rates.preemptions.if_fresh().unwrap_or(0.0), dt);
        let waits_for_turn = rates.waiting.if_fresh().unwrap_or(0.0) >= 2.0 && usage < ROOM_RATIO;
        self.pages_waiting = if waits_for_turn {
            self.pages_waiting.saturating_add(1)
        } else {
            0
        };
        self.places = match self.places {
            Some(places) if running > places => Some(running),
            Some(places) if waits_for_turn => Some(places * 0.99 + running * 0.01),
            None if self.pages_waiting >= PAGES_OF_QUEUE => Some(running),
            other => other,
        };
    }

    fn condition(&self, seen: &Observation<'_>) -> Option<Condition> {
        let rate = self.preemptions.mean()?;
        (rate >= seen.parameters.kv.thrash_per_sec).then(|| {
            let mut evidence = vec![Evidence::number(Source::Metrics, "preemptions", rate, "/s")];
            if let Some(context) = self.context.ratio() {
                let wasted = rate * context;
                evidence.push(Evidence::number(
                    Source::Model,
                    "prompt tokens computed again",
                    wasted,
                    "/s",
                ));
            }
            Condition {
                failure_type: FailureType::KvPreemption,
                severity: Severity::Degraded,
                evidence,
                advice: Some("admit fewer requests at once, or give the KV cache more memory".into()),
            }
        })
    }

    fn predict(&self, seen: &Observation<'_>, usage: f64) -> Prediction {
        let p = &seen.parameters.kv;
        let observed = self.level.span_secs();
        let Some(line) = self.level.line().filter(|_| observed >= p.min_observed_secs) else {
            return Prediction::needs("seconds of samples", observed, p.min_observed_secs);
        };
        let capacity = seen
            .snapshot
            .engine
            .kv_capacity_tokens
            .last()
            .map(|tokens| tokens * members(seen));
        let places = match (seen.snapshot.engine.max_running.last(), self.places) {
            (Some(most), Some(seen)) => Some(most.min(seen)),
            (most, seen) => most.or(seen),
        };
        let mut evidence = vec![
            Evidence::number(Source::Metrics, "kv_usage_ratio", usage, ""),
            Evidence::number(Source::Metrics, "slope", line.slope, "/s"),
        ];
        let straight = Passage {
            distance: p.full_ratio - usage,
            drift: line.slope,
            variance_rate: line.variance_rate.max(p.least_variance_rate),
            drift_error: line.slope_error,
        };
        let balance = self.balance(seen, usage, capacity, places);
        let mut curve = straight.curve();
        if let Some(balance) = &balance {
            let rest = balance.at_rate(balance.arrivals.rate);
            evidence.push(Evidence::number(Source::Model, "equilibrium level", rest, ""));
            evidence.push(Evidence::number(
                Source::Model,
                "relaxation time",
                balance.stay_secs,
                "s",
            ));
            evidence.push(Evidence::number(
                Source::Model,
                "admissions",
                balance.arrivals.rate,
                "/s",
            ));
            evidence.push(Evidence::number(
                Source::Model,
                "change of admissions",
                balance.arrivals.slope,
                "/s per s",
            ));
            curve = balance.curve().mix(&curve, p.slope_share);
        }
        seen.forecast(
            FailureType::KvPreemption,
            curve.horizons(),
            curve.time_to_failure(),
            evidence,
            (self.level.samples(), observed),
        )
    }

    /// Where the level tends to, and how fast; `None` before any request has ended.
    fn balance(
        &self,
        seen: &Observation<'_>,
        level: f64,
        capacity: Option<f64>,
        places: Option<f64>,
    ) -> Option<Balance> {
        let p = &seen.parameters.kv;
        let capacity = capacity?;
        let context = self.context.ratio()?;
        let arrivals = self
            .admissions
            .estimate(p.slope_prior_per_sec, p.slope_lasts_secs)?;
        let tokens = self.generation_tokens.mean()?;
        let stay_secs = (tokens * self.inter_token.ratio()?).max(0.5);
        let running = seen.rates.running.last().unwrap_or(0.0);
        // How much one more request lengthens a step, from the regression of time per token on batch size; bounded so
        // that a lone request takes at least a fifth of the present time.
        let crowding = self
            .crowding
            .line()
            .map_or(0.0, |(_, slope)| slope.max(0.0) * tokens);
        let crowding = crowding.min(0.8 * stay_secs / running.max(1.0));
        // One request changes the level by its context; `variance_factor` allows for unequal requests.
        let per_request = context / capacity;
        Some(Balance {
            level,
            per_request,
            arrivals,
            lone_stay_secs: stay_secs - crowding * running,
            crowding_secs: crowding,
            stay_secs,
            most_requests: places.unwrap_or(f64::INFINITY),
            variance_per_balance: p.variance_factor * per_request,
            barrier: p.full_ratio,
        })
    }
}

fn members(seen: &Observation<'_>) -> f64 {
    seen.snapshot.engine.members.len().max(1) as f64
}
