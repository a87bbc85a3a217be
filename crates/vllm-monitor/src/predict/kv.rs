//! KV preemption onset: when the KV cache will be full.
//!
//! The level is the share of blocks in use. Its drift comes from two sources. The trend of the level itself reacts to
//! anything. The fluid model knows more: requests are admitted at some rate, each stays for its number of tokens times
//! the time per token and holds its context meanwhile, so the level tends to `rate × stay × context / capacity` and
//! approaches it within one stay. A rising rate shows in the model one stay before it shows in the level.
//!
//! Prompts that wait although there is room and a free place in the batch are the near future: they count as level.

use super::passage::Passage;
use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Prediction, Severity};
use crate::numeric::ewma::{Ewma, RatioEwma};
use crate::numeric::trend::Trend;
use crate::{Evidence, Source};

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KvPreemption {
    memory: Option<Memory>,
}

#[derive(Debug, Clone, PartialEq)]
struct Memory {
    level: Trend,
    admissions: Ewma,
    admission_trend: Trend,
    /// Tokens held by the batch over requests in it.
    context: RatioEwma,
    generation_tokens: Ewma,
    prompt_tokens: Ewma,
    inter_token: RatioEwma,
    preemptions: Ewma,
    /// Most requests that ran while others waited although there was room: the batch has no more places.
    places: Option<f64>,
}

impl Memory {
    fn new(seen: &Observation<'_>) -> Self {
        let p = &seen.parameters.kv;
        Self {
            level: Trend::new(p.trend_secs),
            admissions: Ewma::new(p.rate_secs),
            admission_trend: Trend::new(2.0 * p.rate_secs),
            context: RatioEwma::new(p.request_secs),
            generation_tokens: Ewma::new(p.request_secs),
            prompt_tokens: Ewma::new(p.request_secs),
            inter_token: RatioEwma::new(p.rate_secs),
            preemptions: Ewma::new(p.rate_secs),
            places: None,
        }
    }
}

/// Usage below which waiting requests wait for places and not for blocks.
const ROOM_RATIO: f64 = 0.9;

impl Predictor for KvPreemption {
    fn failure_type(&self) -> FailureType {
        FailureType::KvPreemption
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if let Some(reason) = seen.suspended() {
            self.memory = None;
            return Prediction::Suspended { reason: reason.into() }.into();
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
        Assessment { prediction, condition }
    }
}

impl Memory {
    fn learn(&mut self, seen: &Observation<'_>, usage: f64) {
        let rates = seen.rates;
        let dt = if rates.dt_secs > 0.0 { rates.dt_secs } else { 1.0 };
        self.level.add(usage, dt);
        if let Some(rate) = rates.admissions.if_fresh() {
            self.admissions.add(rate, dt);
            self.admission_trend.add(rate, dt);
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
        if let Some(tokens) = rates.mean_prompt_tokens.if_fresh() {
            self.prompt_tokens.add(tokens, dt);
        }
        if let Some(secs) = rates.inter_token_secs.if_fresh() {
            self.inter_token.add(secs * rates.inter_token_count, rates.inter_token_count, dt);
        }
        self.preemptions.add(rates.preemptions.if_fresh().unwrap_or(0.0), dt);
        let waiting = rates.waiting.if_fresh().unwrap_or(0.0);
        if waiting >= 2.0 && usage < ROOM_RATIO && self.level.samples() > 5 {
            let known = self.places.unwrap_or(0.0);
            self.places = Some(if running > known { running } else { known * 0.99 + running * 0.01 });
        }
    }

    fn condition(&self, seen: &Observation<'_>) -> Option<Condition> {
        let rate = self.preemptions.mean()?;
        (rate >= seen.parameters.kv.thrash_per_sec).then(|| {
            let mut evidence = vec![Evidence::number(Source::Metrics, "preemptions", rate, "/s")];
            if let Some(context) = self.context.ratio() {
                let wasted = rate * context;
                evidence.push(Evidence::number(Source::Model, "prompt tokens computed again", wasted, "/s"));
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
        let Some(line) = self.level.line() else {
            return Prediction::needs("seconds of samples", self.level.span_secs(), p.min_watched_secs);
        };
        if self.level.span_secs() < p.min_watched_secs {
            return Prediction::needs("seconds of samples", self.level.span_secs(), p.min_watched_secs);
        }
        let rates = seen.rates;
        let running = rates.running.last().unwrap_or(0.0);
        let waiting = rates.waiting.last().unwrap_or(0.0);
        let capacity = seen.snapshot.engine.kv_capacity_tokens.last().map(|tokens| tokens * members(seen));
        let places = seen.snapshot.engine.max_running.last().or(self.places);
        let has_place = places.is_none_or(|places| running < places);

        let mut evidence = vec![
            Evidence::number(Source::Metrics, "kv_usage_ratio", usage, ""),
            Evidence::number(Source::Metrics, "slope", line.slope, "/s"),
        ];
        let mut level = usage;
        if let (true, Some(capacity), Some(prompt)) = (has_place, capacity, self.prompt_tokens.mean())
            && waiting > 0.0
        {
            level += waiting * prompt / capacity;
            evidence.push(Evidence::number(Source::Metrics, "waiting prompt tokens", waiting * prompt, "tokens"));
        }

        let mut passage = Passage::straight(
            p.full_ratio - level,
            line.slope,
            line.variance_rate.max(p.least_variance_rate),
            line.slope_error,
        );
        if let Some(fluid) = self.fluid(capacity, places) {
            let pull = (fluid.balance - level) / fluid.stay_secs;
            passage.relaxation_secs = fluid.stay_secs;
            passage.drift = p.slope_share * line.slope + (1.0 - p.slope_share) * pull;
            passage.acceleration = fluid.balance_slope / fluid.stay_secs;
            passage.drift_error = (p.slope_share * line.slope_error)
                .hypot((1.0 - p.slope_share) * fluid.balance_error / fluid.stay_secs);
            evidence.push(Evidence::number(Source::Model, "the level tends to", fluid.balance, ""));
            evidence.push(Evidence::number(Source::Model, "within", fluid.stay_secs, "s"));
        }
        let basis = (self.level.samples(), self.level.span_secs());
        seen.forecast(
            FailureType::KvPreemption,
            passage.horizons(),
            passage.time_to_failure(),
            evidence,
            basis,
        )
    }

    /// Where the level tends to, and how fast; `None` before any request has ended.
    fn fluid(&self, capacity: Option<f64>, places: Option<f64>) -> Option<Fluid> {
        let capacity = capacity?;
        let context = self.context.ratio()?;
        let rate = self.admissions.mean()?;
        let stay_secs = (self.generation_tokens.mean()? * self.inter_token.ratio()?).max(1.0);
        let per_rate = stay_secs * context / capacity;
        let trend = self.admission_trend.line();
        // A slope within its error says nothing: shrink it towards zero by how sure it is.
        let trust = |slope: f64, error: f64| slope * (1.0 - error * error / (slope * slope + 1e-12)).max(0.0);
        let poisson_error = (rate / (2.0 * self.admission_tau())).sqrt();
        let slope = trend.map_or(0.0, |line| {
            let error = 2.0 * poisson_error / self.admission_tau();
            trust(line.slope, error.max(1e-9))
        });
        let most = places.map_or(f64::INFINITY, |places| places * context / capacity);
        let balance = (rate * per_rate).min(most);
        Some(Fluid {
            balance,
            balance_slope: if balance < most { slope * per_rate } else { 0.0 },
            balance_error: poisson_error * per_rate,
            stay_secs,
        })
    }

    fn admission_tau(&self) -> f64 {
        self.admission_trend.span_secs().clamp(1.0, 40.0)
    }
}

/// The fluid model's answer.
#[derive(Debug, Clone, Copy)]
struct Fluid {
    /// Share of blocks at which inflow and outflow balance.
    balance: f64,
    /// How fast that balance itself moves, per second.
    balance_slope: f64,
    /// Its standard error.
    balance_error: f64,
    /// How long a request stays, in seconds.
    stay_secs: f64,
}

fn members(seen: &Observation<'_>) -> f64 {
    seen.snapshot.engine.members.len().max(1) as f64
}
