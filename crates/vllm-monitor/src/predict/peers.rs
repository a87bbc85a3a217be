//! Stragglers: a target, or a member of it, that is slower than its peers at the same time.
//!
//! Between targets, the residual of `degradation` is compared (how much slower each is than its own model predicts), so
//! that targets with different loads and hardware are comparable. Between the members of one target, which share load
//! and hardware, the inter-token latency is compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Horizons, Prediction, Severity};
use crate::numeric::ewma::RatioEwma;
use crate::{Evidence, Source, Time};

/// The newest residual of every target. Recomputed at most once a second, whatever the number of targets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PeerTable {
    residuals: BTreeMap<Arc<str>, (f64, Time)>,
    computed_at: Option<Time>,
    median: f64,
    deviation: f64,
    targets: usize,
}

/// Entries older than this say nothing about now, in seconds.
const TOO_OLD_SECS: f64 = 30.0;

impl PeerTable {
    /// A target's newest residual; `None` takes it out.
    pub fn report(&mut self, target: &Arc<str>, residual: Option<f64>, now: Time) {
        match residual.filter(|r| r.is_finite()) {
            Some(residual) => {
                self.residuals.insert(Arc::clone(target), (residual, now));
            }
            None => {
                self.residuals.remove(target);
            }
        }
        if self
            .computed_at
            .is_none_or(|at| now.secs_since(at) >= 1.0 || now < at)
        {
            self.recompute(now);
        }
    }

    fn recompute(&mut self, now: Time) {
        self.computed_at = Some(now);
        self.residuals
            .retain(|_, (_, at)| now.secs_since(*at) <= TOO_OLD_SECS);
        let mut values: Vec<f64> = self.residuals.values().map(|(residual, _)| *residual).collect();
        self.targets = values.len();
        self.median = median(&mut values);
        let mut distances: Vec<f64> = values.iter().map(|v| (v - self.median).abs()).collect();
        // 1.4826 makes the median distance comparable to a standard deviation.
        self.deviation = 1.4826 * median(&mut distances);
    }

    /// Median and robust deviation over all targets, and how many there are.
    pub fn summary(&self) -> (f64, f64, usize) {
        (self.median, self.deviation, self.targets)
    }
}

fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Compares one target with the others, and its members with each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Straggler {
    /// Own residual and what the others show; set before each observation.
    outside: Option<(f64, f64, f64, usize)>,
    slow_secs: f64,
    members: Vec<MemberMemory>,
    samples: u64,
    observed_secs: f64,
}

#[derive(Debug, Clone, PartialEq)]
struct MemberMemory {
    engine: Arc<str>,
    last: Option<(f64, f64)>,
    inter_token: RatioEwma,
}

impl Straggler {
    /// What the table says, for the next observation.
    pub fn compare(&mut self, residual: Option<f64>, table: &PeerTable) {
        let (median, deviation, targets) = table.summary();
        self.outside = residual.map(|own| (own, median, deviation, targets.saturating_sub(1)));
    }

    /// The slowest member against the median of all: (engine, logarithm of the quotient).
    fn slowest_member(&mut self, seen: &Observation<'_>) -> Option<(Arc<str>, f64)> {
        let members = &seen.snapshot.engine.members;
        if !seen.rates.is_new_page || seen.rates.dt_secs <= 0.0 {
            return self.compare_members();
        }
        for member in members {
            let place = self
                .members
                .iter()
                .position(|known| known.engine == member.engine)
                .unwrap_or_else(|| {
                    self.members.push(MemberMemory {
                        engine: Arc::clone(&member.engine),
                        last: None,
                        inter_token: RatioEwma::new(30.0),
                    });
                    self.members.len() - 1
                });
            let totals = member.inter_token_latency;
            let Some(now) = totals
                .sum
                .with(totals.count, |sum, count| (sum, count))
                .if_fresh()
            else {
                continue;
            };
            let memory = &mut self.members[place];
            if let Some((sum, count)) = memory.last {
                memory.inter_token.add(
                    (now.0 - sum).max(0.0),
                    (now.1 - count).max(0.0),
                    seen.rates.dt_secs,
                );
            }
            memory.last = Some(now);
        }
        self.members
            .retain(|known| members.iter().any(|member| member.engine == known.engine));
        self.compare_members()
    }

    fn compare_members(&self) -> Option<(Arc<str>, f64)> {
        let mut times: Vec<f64> = self
            .members
            .iter()
            .filter_map(|m| m.inter_token.ratio().filter(|r| *r > 0.0))
            .collect();
        if times.len() < 3 {
            return None;
        }
        let usual = median(&mut times);
        self.members
            .iter()
            .filter_map(|m| Some((Arc::clone(&m.engine), (m.inter_token.ratio()? / usual).ln())))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

impl Predictor for Straggler {
    fn failure_type(&self) -> FailureType {
        FailureType::Straggler
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        if let Some(reason) = seen.suspended() {
            self.slow_secs = 0.0;
            return Prediction::Suspended {
                reason: reason.into(),
            }
            .into();
        }
        let p = &seen.parameters.peers;
        self.samples += 1;
        self.observed_secs += seen.dt_secs;
        let member = self.slowest_member(seen);
        let outside = self.outside.filter(|(.., peers)| *peers as f64 >= p.min_peers);
        if outside.is_none() && member.is_none() {
            let peers = self.outside.map_or(0.0, |(.., peers)| peers as f64);
            self.slow_secs = 0.0;
            return Prediction::needs("peers with a taught model", peers, p.min_peers).into();
        }
        let mut evidence = Vec::new();
        let mut excess: f64 = 0.0;
        if let Some((own, median, deviation, peers)) = outside {
            let limit = (p.deviations * deviation).max(p.least_difference);
            excess = excess.max((own - median) / limit);
            evidence.push(Evidence::number(
                Source::Peers,
                "slowdown at equal load",
                own.exp() - 1.0,
                "",
            ));
            evidence.push(Evidence::number(
                Source::Peers,
                "median slowdown of peers",
                median.exp() - 1.0,
                "",
            ));
            evidence.push(Evidence::number(
                Source::Peers,
                "compared with",
                peers as f64,
                "peers",
            ));
        }
        if let Some((engine, difference)) = &member {
            let share = difference / p.least_difference.max(1e-6);
            if share > excess {
                excess = share;
            }
            if share >= 1.0 {
                evidence.push(Evidence::text(
                    Source::Peers,
                    format!("engine {engine} is the slowest member"),
                ));
                evidence.push(Evidence::number(
                    Source::Peers,
                    "slower by",
                    difference.exp() - 1.0,
                    "",
                ));
            }
        }
        self.slow_secs = if excess >= 1.0 {
            self.slow_secs + seen.dt_secs
        } else {
            0.0
        };
        let is_slow = self.slow_secs >= p.after_secs;
        let condition = is_slow.then(|| Condition {
            failure_type: FailureType::Straggler,
            severity: Severity::Degraded,
            evidence: evidence.clone(),
            advice: Some("look at this one's GPUs and neighbours; its peers are well".into()),
        });
        let share = (self.slow_secs / p.after_secs.max(1.0)).min(1.0);
        let probability = Horizons::all(0.95 * share * share);
        let basis = (self.samples, self.observed_secs);
        let prediction = seen.forecast(FailureType::Straggler, probability, None, evidence, basis);
        Assessment {
            prediction,
            condition,
        }
    }
}
