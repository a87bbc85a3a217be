//! Degradation: steps that take longer than they did at the same load.
//!
//! A linear model explains the time between tokens by what a step has to do: a fixed part, one part for each running
//! sequence, one for each token of context that is read, one for each prompt token computed alongside. It is learned
//! by recursive least squares on relative errors. A higher load is explained by the model; a slower server is
//! not. Unexplained slowdown is accumulated (CUSUM); samples far from what was learned (high leverage) are learned
//! instead of counted as slowdown.
//!
//! This is detection, not prediction: the probability is the same at all horizons.

use serde::{Deserialize, Serialize};

use super::{Observation, Predictor};
use crate::config::DegradationParameters;
use crate::forecast::{Assessment, Condition, FailureType, Horizons, Prediction, Severity};
use crate::numeric::cusum::Cusum;
use crate::numeric::ewma::Ewma;
use crate::numeric::rls::{FEATURES, Rls};
use crate::{Evidence, Source};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Degradation {
    model: Rls,
    /// Squared differences while nothing was wrong.
    noise: Ewma,
    #[serde(skip)]
    sums: Cusum,
    #[serde(skip)]
    pool: Pool,
    #[serde(skip)]
    latest: Option<Latest>,
    #[serde(skip)]
    observed_secs: f64,
    #[serde(skip)]
    is_degraded: bool,
}

impl Default for Degradation {
    fn default() -> Self {
        Self {
            model: Rls::new(PRIOR_UNCERTAINTY),
            noise: Ewma::new(600.0),
            sums: Cusum::default(),
            pool: Pool::default(),
            latest: None,
            observed_secs: 0.0,
            is_degraded: false,
        }
    }
}

const PRIOR_UNCERTAINTY: f64 = 1e4;

/// Pages added up until they hold enough tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Pool {
    secs: f64,
    latency_secs: f64,
    tokens: f64,
    running: f64,
    context: f64,
    prompt_tokens: f64,
    steps: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Latest {
    inter_token_secs: f64,
    expected_secs: f64,
    leverage: f64,
}

impl Degradation {
    /// Logarithm of the newest time between tokens over what the load explains; `None` while that is not known.
    pub fn residual(&self) -> Option<f64> {
        let latest = self.latest?;
        (latest.expected_secs > 0.0).then(|| (latest.inter_token_secs / latest.expected_secs).ln())
    }

    /// Accepts the present speed as the new baseline.
    pub fn accept(&mut self) {
        *self = Self::default();
    }

    fn learn(&mut self, seen: &Observation<'_>) {
        let rates = seen.rates;
        let (Some(secs), Some(running)) = (rates.inter_token_secs.if_fresh(), rates.running.if_fresh())
        else {
            return;
        };
        let engine = &seen.snapshot.engine;
        let members = engine.members.len().max(1) as f64;
        let dt = rates.dt_secs;
        let context =
            rates.kv_usage_ratio.if_fresh().unwrap_or(0.0) * engine.kv_capacity_tokens.last().unwrap_or(0.0);
        let pool = &mut self.pool;
        pool.secs += dt;
        pool.latency_secs += secs * rates.inter_token_count;
        pool.tokens += rates.inter_token_count;
        // Sequences in a step are known better from what the steps computed than from a gauge at one moment.
        let steps = rates.steps.if_fresh().unwrap_or(0.0) * dt;
        let in_step = if steps > 0.0 {
            (rates.decode_tokens.if_fresh().unwrap_or(0.0) * dt / steps).min(running.max(1.0) * 2.0)
        } else {
            running / members
        };
        pool.running += in_step * dt;
        pool.context += context * dt;
        pool.prompt_tokens += rates.prefill_tokens.if_fresh().unwrap_or(0.0) * dt;
        pool.steps += steps;
        let p = &seen.parameters.degradation;
        if pool.secs >= p.pool_secs && pool.tokens >= p.min_tokens {
            let full = std::mem::take(pool);
            self.judge(&full, p);
        } else if pool.secs > 20.0 * p.pool_secs {
            self.pool = Pool::default();
        }
    }

    fn judge(&mut self, pool: &Pool, p: &DegradationParameters) {
        let inter_token_secs = pool.latency_secs / pool.tokens;
        if !(inter_token_secs.is_finite() && inter_token_secs > 0.0) {
            return;
        }
        let features: [f64; FEATURES] = [
            1.0,
            pool.running / pool.secs / 16.0,
            pool.context / pool.secs / 16_384.0,
            if pool.steps > 0.0 {
                pool.prompt_tokens / pool.steps / 256.0
            } else {
                0.0
            },
        ];
        // Dividing by the observed time makes errors relative: the model then answers 1 where it is right.
        let scale = 0.02 / inter_token_secs;
        let relative = features.map(|feature| feature * scale);
        let leverage = self.model.leverage(&relative);
        let answer = self.model.predict(&relative);
        let is_taught = self.model.samples() as f64 >= p.min_samples;
        if is_taught && answer > 0.0 {
            self.latest = Some(Latest {
                inter_token_secs,
                expected_secs: inter_token_secs * answer,
                leverage,
            });
        }
        if !is_taught || answer <= 0.0 || leverage > p.new_point_leverage {
            self.model.learn(&relative, 1.0, p.forgetting);
            return;
        }
        let difference = (-answer.ln()).clamp(-p.most_difference, p.most_difference);
        let threshold = self.threshold(p);
        self.sums.add(difference, p.allowance, 2.0 * threshold);
        let suspicious = self.sums.up() > 0.5 * threshold;
        if !suspicious {
            self.model.learn(&relative, 1.0, p.forgetting);
            self.noise.add(difference * difference, p.pool_secs);
        }
        if self.sums.down() >= threshold {
            // Faster than expected: nothing is wrong, but the model is outdated.
            self.model = Rls::new(PRIOR_UNCERTAINTY);
            self.sums.reset();
            self.latest = None;
        }
        self.is_degraded = if self.is_degraded {
            self.sums.up() > 0.25 * threshold
        } else {
            self.sums.up() >= threshold
        };
    }

    /// The sum from which on steps count as slower. A sum of noise passes a threshold h with a frequency that falls as
    /// `exp(-2 allowance h / variance)`, so a server with noisy times needs a higher one, and takes longer to judge.
    fn threshold(&self, p: &DegradationParameters) -> f64 {
        p.threshold
            .max(p.noise_factor * self.noise.mean().unwrap_or(0.0) / p.allowance)
    }
}

impl Predictor for Degradation {
    fn failure_type(&self) -> FailureType {
        FailureType::Degradation
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if let Some(reason) = seen.suspended() {
            self.pool = Pool::default();
            self.sums.reset();
            self.is_degraded = false;
            return Prediction::Suspended {
                reason: reason.into(),
            }
            .into();
        }
        self.observed_secs += seen.dt_secs;
        if seen.rates.is_new_page {
            self.learn(seen);
        }
        let p = &seen.parameters.degradation;
        let samples = self.model.samples();
        if (samples as f64) < p.min_samples {
            return Prediction::needs("samples under load", samples as f64, p.min_samples).into();
        }
        let threshold = self.threshold(p);
        let share = (self.sums.up() / threshold).min(1.0);
        let mut evidence = vec![
            Evidence::number(Source::Model, "accumulated slowdown", self.sums.up(), ""),
            Evidence::number(Source::Model, "threshold", threshold, ""),
        ];
        if let Some(latest) = self.latest {
            evidence.push(Evidence::number(
                Source::Metrics,
                "time between tokens",
                latest.inter_token_secs * 1e3,
                "ms",
            ));
            evidence.push(Evidence::number(
                Source::Model,
                "expected at this load",
                latest.expected_secs * 1e3,
                "ms",
            ));
        }
        let condition = self.is_degraded.then(|| Condition {
            failure_type: FailureType::Degradation,
            severity: Severity::Degraded,
            evidence: evidence.clone(),
            advice: Some("look at GPU clocks, throttling and other users of the machine".into()),
        });
        let prediction = seen.forecast(
            FailureType::Degradation,
            Horizons::all(share * share * 0.98),
            None,
            evidence,
            (samples, self.observed_secs),
        );
        Assessment {
            prediction,
            condition,
        }
    }
}
