//! What was learned, in words: rules with support and interval, and ranked recommendations.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Context, Learner};
use crate::Target;
use crate::arm::{NOTHING, Prior};
use crate::strategy::Strategies;
use crate::verify::Outcome;

/// Minimum observations for a rule.
const LEAST_SUPPORT: u64 = 5;

/// Results of an arm in a context, with support and interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The context.
    pub context: Context,
    /// The arm.
    pub arm: Arc<str>,
    /// Observations.
    pub support: u64,
    /// Of these, successes and partial successes.
    pub successes: u64,
    /// Of these, those that made it worse.
    pub worse: u64,
    /// Mean reward and its 80 % interval.
    pub reward: (f64, f64, f64),
    /// Mean reward of doing nothing in this context, and its number of observations.
    pub nothing: (f64, u64),
    /// Probability that the arm is better than doing nothing.
    pub confidence: f64,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mean, low, high) = self.reward;
        let (nothing, observed) = self.nothing;
        write!(
            f,
            "{}: {} earns {mean:.2} (80 % interval {low:.2} to {high:.2}, {} observations, {} successful, {} harmful); \
             doing nothing earns {nothing:.2} ({observed} observations); better with probability {:.0} %",
            self.context,
            self.arm,
            self.support,
            self.successes,
            self.worse,
            self.confidence * 100.0
        )
    }
}

/// One recommended action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// 1 for the best.
    pub rank: usize,
    /// The strategy.
    pub strategy: Arc<str>,
    /// Expected reward: share of the usual goodput kept, less cost.
    pub score: f64,
    /// Probability that it is better than doing nothing.
    pub confidence: f64,
    /// Most likely outcome.
    pub predicted_outcome: Outcome,
    /// Why, in words.
    pub rationale: String,
    /// Seconds until its effect is judged.
    pub expected_duration_secs: f64,
    /// Side effects, in words.
    pub side_effects: String,
    /// Why it cannot be used on this target; empty if it can.
    pub unsupported: Vec<String>,
}

impl Learner {
    /// Rules with enough support, the most certain first.
    pub fn rules(&self, strategies: &Strategies) -> Vec<Rule> {
        let mut rules: Vec<Rule> = self
            .cells()
            .filter(|(_, arm, cell)| arm.as_ref() != NOTHING && cell.count >= LEAST_SUPPORT)
            .map(|(context, arm, cell)| {
                let posterior = self.posterior(context, arm, prior_of(strategies, arm, &context.failure));
                let nothing =
                    self.posterior(context, NOTHING, prior_of(strategies, NOTHING, &context.failure));
                let (low, high) = posterior.interval();
                Rule {
                    context: context.clone(),
                    arm: Arc::clone(arm),
                    support: cell.count,
                    successes: cell.successes + cell.partial,
                    worse: cell.worse,
                    reward: (posterior.mean, low, high),
                    nothing: (
                        nothing.mean,
                        self.cell(context, NOTHING).map_or(0, |cell| cell.count),
                    ),
                    confidence: posterior.probability_above(&nothing),
                }
            })
            .collect();
        rules.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        rules
    }

    /// The strategies against a failure, best expected reward first.
    pub fn recommendations(
        &self,
        context: &Context,
        strategies: &Strategies,
        target: &Target,
        most: usize,
    ) -> Vec<Recommendation> {
        let nothing = self.posterior(context, NOTHING, prior_of(strategies, NOTHING, &context.failure));
        let mut ranked: Vec<Recommendation> = strategies
            .against(&context.failure)
            .map(|strategy| {
                let spec = strategy.spec();
                let against = &spec.against[&context.failure];
                let posterior = self.posterior(context, &spec.name, against.prior);
                let cell = self.cell(context, &spec.name).copied().unwrap_or_default();
                let (low, high) = posterior.interval();
                let basis: Cow<'_, str> = if cell.count == 0 {
                    Cow::Borrowed("never used in this context: its prior, and other contexts of this failure")
                } else {
                    Cow::Owned(format!(
                        "used {} times in this context, {} successful, {} harmful",
                        cell.count,
                        cell.successes + cell.partial,
                        cell.worse
                    ))
                };
                Recommendation {
                    rank: 0,
                    strategy: Arc::clone(&spec.name),
                    score: posterior.mean,
                    confidence: posterior.probability_above(&nothing),
                    predicted_outcome: predicted(&cell, posterior.mean - nothing.mean),
                    rationale: format!(
                        "{}: expected reward {:.2} (80 % interval {low:.2} to {high:.2}), doing nothing {:.2}; {basis}",
                        spec.title, posterior.mean, nothing.mean
                    ),
                    expected_duration_secs: against.effect.within_secs,
                    side_effects: spec.side_effects.clone(),
                    unsupported: strategies.catalogue().missing(&spec.requires, target),
                }
            })
            .collect();
        ranked.sort_by(|a, b| {
            let usable = |r: &Recommendation| r.unsupported.is_empty();
            usable(b).cmp(&usable(a)).then(b.score.total_cmp(&a.score))
        });
        ranked.truncate(most);
        for (place, recommendation) in ranked.iter_mut().enumerate() {
            recommendation.rank = place + 1;
        }
        ranked
    }
}

/// The most frequent outcome; without any uses, the outcome suggested by the expected gain.
fn predicted(cell: &super::Cell, gain: f64) -> Outcome {
    let failures = cell.count - cell.successes - cell.partial - cell.worse;
    let counts = [
        (cell.successes, Outcome::Success),
        (cell.partial, Outcome::PartialSuccess),
        (failures, Outcome::Failure),
        (cell.worse, Outcome::MadeWorse),
    ];
    match counts.into_iter().max_by_key(|(count, _)| *count) {
        Some((count, outcome)) if count > 0 => outcome,
        _ if gain > 0.1 => Outcome::Success,
        _ if gain > 0.0 => Outcome::PartialSuccess,
        _ => Outcome::Failure,
    }
}

/// The prior of an arm against a failure. An arm that no longer exists has a wide one.
pub(crate) fn prior_of(strategies: &Strategies, arm: &str, failure: &str) -> Prior {
    strategies
        .get(arm)
        .and_then(|strategy| strategy.spec().against.get(failure))
        .map_or(
            Prior {
                mean: 0.3,
                weight: 1.0,
            },
            |against| against.prior,
        )
}

#[cfg(test)]
mod tests {
    use super::super::{Load, Urgency};
    use super::*;

    #[test]
    fn ranked_by_expected_reward_with_what_is_unsupported_last() {
        let strategies = Strategies::default();
        let target = Target::new("t", "gpu").with(["lever.max_num_queued_reqs", "lever.watermark_blocks"]);
        let context = Context::new("kv_preemption", Urgency::Soon, Load::High, "gpu");
        let mut learner = Learner::default();
        for _ in 0..30 {
            learner.observe(&context, &"watermark".into(), 0.95, Outcome::Success);
            learner.observe(&context, &"tighten_admission".into(), 0.2, Outcome::MadeWorse);
            learner.observe(&context, &NOTHING.into(), 0.6, Outcome::Failure);
        }
        let ranked = learner.recommendations(&context, &strategies, &target, 5);
        assert_eq!(&*ranked[0].strategy, "watermark");
        assert_eq!(ranked[0].predicted_outcome, Outcome::Success);
        assert!(ranked[0].confidence > 0.99 && ranked[0].rank == 1);
        assert!(
            ranked.iter().take_while(|r| r.unsupported.is_empty()).count() == 3,
            "{ranked:#?}"
        );
        let rules = learner.rules(&strategies);
        assert_eq!(rules.len(), 2);
        let text = rules[0].to_string();
        assert!(
            text.contains("watermark") && text.contains("30 observations"),
            "{text}"
        );
        assert!(rules[1].confidence < 0.01 && rules[1].worse == 30);
    }
}
