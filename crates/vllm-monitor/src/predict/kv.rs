//! KV preemption onset: when the KV cache will be full.
//!
//! The level is the square root of the share of blocks in use. The share is a sum over independent requests, so its
//! variance is proportional to its mean, and that of its root is about the same at every level: what is measured at low
//! usage holds near the limit. The root fluctuates around a trend ([`Fluctuation`]): the trend is an exponentially weighted
//! line, the variance the mean square of its errors one page ahead, and the correlation time the stay of a request, by
//! Little's law `running / finishes per second`. The forecast is the probability that trend plus fluctuation reach the root
//! of `full_ratio`. More load slows every step and lengthens stays, so usage grows faster than load; a straight line of the
//! root allows for some of that.
//!
//! Where work comes to an empty server, usage rises for about one stay and then settles. That rise is no trend, so
//! forecasts begin after `settle_stays` stays.
//!
//! Rejected: the balance of arrivals and stays (`rate × stay × share of one request`). At few requests per second, the
//! error of the rate alone carries the balance beyond the limit.

use super::fluctuation::Fluctuation;
use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Prediction, Severity};
use crate::numeric::ewma::{Ewma, RatioEwma};
use crate::numeric::trend::Trend;
use crate::{Evidence, Source};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KvPreemption {
    memory: Option<Memory>,
}

#[derive(Debug, Clone, PartialEq)]
struct Memory {
    /// Of the root of usage.
    level: Trend,
    /// Squared errors of the trend, one page ahead.
    variance: Ewma,
    /// Usage over requests in the batch.
    share: RatioEwma,
    /// Seconds in the batch over requests that ended.
    stay_secs: RatioEwma,
    preemptions: Ewma,
    /// Time without work until now, and time since work came after such a time.
    idle_secs: f64,
    filling_secs: f64,
}

impl Memory {
    fn new(seen: &Observation<'_>) -> Self {
        let p = &seen.parameters.kv;
        Self {
            level: Trend::new(p.trend_secs),
            variance: Ewma::new(4.0 * p.trend_secs),
            share: RatioEwma::new(p.request_secs),
            stay_secs: RatioEwma::new(p.request_secs),
            preemptions: Ewma::new(p.rate_secs),
            idle_secs: IDLE_SECS,
            filling_secs: 0.0,
        }
    }
}

/// Pages before the errors of the trend count.
const LEAST_SAMPLES: u64 = 10;

/// A server without work for so long starts from an empty batch.
const IDLE_SECS: f64 = 60.0;

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
        let level = usage.max(0.0).sqrt();
        if self.level.samples() >= LEAST_SAMPLES
            && let Some(line) = self.level.line()
        {
            self.variance
                .add((level - line.level - line.slope * dt).powi(2), dt);
        }
        self.level.add(level, dt);
        let running = rates.running.last().unwrap_or(0.0);
        self.share.add(usage * dt, running * dt, dt);
        if let Some(finishes) = rates.finishes.if_fresh() {
            self.stay_secs.add(running * dt, finishes * dt, dt);
        }
        self.preemptions
            .add(rates.preemptions.if_fresh().unwrap_or(0.0), dt);
        if running + rates.waiting.last().unwrap_or(0.0) > 0.0 {
            if self.idle_secs >= IDLE_SECS {
                self.filling_secs = 0.0;
            }
            self.idle_secs = 0.0;
        } else {
            self.idle_secs += dt;
        }
        self.filling_secs += dt;
    }

    fn condition(&self, seen: &Observation<'_>) -> Option<Condition> {
        let rate = self.preemptions.mean()?;
        (rate >= seen.parameters.kv.thrash_per_sec).then(|| {
            let mut evidence = vec![Evidence::number(Source::Metrics, "preemptions", rate, "/s")];
            if let (Some(share), Some(capacity)) =
                (self.share.ratio(), seen.snapshot.engine.kv_capacity_tokens.last())
            {
                let members = seen.snapshot.engine.members.len().max(1) as f64;
                let wasted = rate * share * capacity * members;
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
        let observed = self.filling_secs;
        let (Some(line), Some(variance), Some(share), Some(stay_secs)) = (
            self.level.line(),
            self.variance.mean(),
            self.share.ratio(),
            self.stay_secs.ratio(),
        ) else {
            return Prediction::needs_signal("requests that ended");
        };
        let wanted = p.min_observed_secs + p.settle_stays * stay_secs;
        if observed < wanted {
            return Prediction::needs("seconds of samples", observed, wanted);
        }
        let level = usage.max(0.0).sqrt();
        let most = seen
            .snapshot
            .engine
            .max_running
            .last()
            .map_or(f64::INFINITY, |most| {
                let running = seen.rates.running.last().unwrap_or(0.0).max(1.0);
                (most * share.max(usage / running)).sqrt()
            });
        let fluctuation = Fluctuation {
            level,
            trend: level,
            slope: 0.0,
            slope_error: 0.0,
            age_secs: 0.0,
            slope_lasts_secs: p.slope_lasts_secs,
            most,
            deviation: variance.sqrt(),
            correlation_secs: stay_secs.max(0.5),
            barrier: p.full_ratio.sqrt(),
        }
        .around(
            &line,
            p.trend_secs.min(self.level.span_secs()),
            p.slope_prior_per_sec * level / 2.0,
        );
        let evidence = vec![
            Evidence::number(Source::Metrics, "kv_usage_ratio", usage, ""),
            Evidence::number(Source::Model, "slope", 2.0 * level * fluctuation.slope, "/s"),
            Evidence::number(
                Source::Model,
                "standard deviation",
                2.0 * level * variance.sqrt(),
                "",
            ),
            Evidence::number(Source::Model, "stay of a request", stay_secs, "s"),
        ];
        let curve = fluctuation.curve();
        seen.forecast(
            FailureType::KvPreemption,
            curve.horizons(),
            curve.time_to_failure(),
            evidence,
            (self.level.samples(), observed),
        )
    }
}
