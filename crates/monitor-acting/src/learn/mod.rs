//! Chooses actions, and learns from the results of earlier ones.
//!
//! Thompson sampling with Gaussian rewards. Each context and arm has a posterior of the mean reward, which
//! starts at the arm's prior, borrows from the other contexts of the same failure, and forgets slowly in
//! order to follow changes. The reward is the share of the usual goodput that was kept over the failure's
//! window, less the arm's cost. Unobservable outcomes are counted but do not affect the posterior.

mod context;
mod offpolicy;
mod posterior;
mod recommend;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use serde::{Deserialize, Serialize};

pub use context::{Context, Load, Urgency};
pub use offpolicy::{Logged, OffPolicy, evaluate};
pub(crate) use posterior::Learned;
pub use posterior::{Cell, Posterior};
pub(crate) use recommend::prior_of;
pub use recommend::{Recommendation, Rule};

use crate::arm::{NOTHING, Prior};
use crate::verify::Outcome;

/// Draws for estimating propensities; the first is the choice.
const DRAWS: usize = 256;
/// Factor on the weight of observations of an arm after another arm in the same context has changed.
const FORGET_OTHERS: f64 = 0.998;
/// Most observations that other contexts of the same failure may count for.
const MOST_BORROWED: f64 = 8.0;

/// An arm that may be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub arm: Arc<str>,
    /// Prior belief.
    pub prior: Prior,
}

/// A choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The arm.
    pub arm: Arc<str>,
    /// Probability with which each candidate would have been chosen.
    pub propensities: BTreeMap<Arc<str>, f64>,
}

impl Choice {
    /// Probability of the choice.
    pub fn propensity(&self) -> f64 {
        self.propensities.get(&self.arm).copied().unwrap_or(0.0)
    }
}

/// State of one context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Group {
    context: Context,
    arms: BTreeMap<Arc<str>, Cell>,
}

/// Learned state, by context and arm.
///
/// ```
/// use monitor_acting::arm::Prior;
/// use monitor_acting::learn::{Candidate, Context, Learner, Load, Urgency};
/// use monitor_acting::verify::Outcome;
/// use rand::SeedableRng as _;
///
/// let context = Context::new("hang", Urgency::Present, Load::High, "gpu");
/// let candidates: Vec<Candidate> = ["nothing", "restart"]
///     .map(|arm| Candidate { arm: arm.into(), prior: Prior { mean: 0.3, weight: 2.0 } })
///     .into();
/// let mut learner = Learner::default();
/// for _ in 0..20 {
///     learner.observe(&context, &"restart".into(), 0.7, Outcome::Success);
///     learner.observe(&context, &"nothing".into(), 0.0, Outcome::Failure);
/// }
/// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
/// let choice = learner.choose(&context, &candidates, &mut rng);
/// assert_eq!(&*choice.arm, "restart");
/// assert!(choice.propensity() > 0.95);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Learner {
    groups: BTreeMap<String, Group>,
    censored: BTreeMap<Arc<str>, u64>,
}

impl Learner {
    /// Chooses among candidates, of which there must be at least one.
    pub fn choose(&self, context: &Context, candidates: &[Candidate], rng: &mut ChaCha8Rng) -> Choice {
        let posteriors: Vec<Posterior> = candidates
            .iter()
            .map(|candidate| self.posterior(context, &candidate.arm, candidate.prior))
            .collect();
        let mut wins = vec![0usize; candidates.len()];
        let mut chosen = 0;
        for draw in 0..DRAWS {
            let mut best = (0, f64::NEG_INFINITY);
            for (place, posterior) in posteriors.iter().enumerate() {
                let z: f64 = StandardNormal.sample(rng);
                let sample = posterior.mean + posterior.deviation * z;
                if sample > best.1 {
                    best = (place, sample);
                }
            }
            wins[best.0] += 1;
            if draw == 0 {
                chosen = best.0;
            }
        }
        Choice {
            arm: Arc::clone(&candidates[chosen].arm),
            propensities: candidates
                .iter()
                .zip(&wins)
                .map(|(candidate, wins)| (Arc::clone(&candidate.arm), *wins as f64 / DRAWS as f64))
                .collect(),
        }
    }

    /// Learns from an observed reward, −1 to 1.
    pub fn observe(&mut self, context: &Context, arm: &Arc<str>, reward: f64, outcome: Outcome) {
        let _learned = self.observe_revisable(context, arm, reward, outcome);
    }

    /// [`Self::observe`], for a reward that may have to be revised.
    pub(crate) fn observe_revisable(
        &mut self,
        context: &Context,
        arm: &Arc<str>,
        reward: f64,
        outcome: Outcome,
    ) -> Learned {
        let reward = reward.clamp(-1.0, 1.0);
        let group = self.groups.entry(context.key()).or_insert_with(|| Group {
            context: context.clone(),
            arms: BTreeMap::new(),
        });
        let cell = group.arms.entry(Arc::clone(arm)).or_default();
        let surprised = cell.add(reward, outcome);
        let learned = cell.learned(reward, outcome);
        for (other, cell) in &mut group.arms {
            if other != arm {
                // A change of this arm suggests that the others may have changed too.
                cell.forget(if surprised { 0.5 } else { FORGET_OTHERS });
            }
        }
        learned
    }

    /// Replaces an observation that was learned earlier.
    pub(crate) fn revise(
        &mut self,
        context: &Context,
        arm: &str,
        before: Learned,
        reward: f64,
        outcome: Outcome,
    ) {
        let group = self.groups.get_mut(&context.key());
        if let Some(cell) = group.and_then(|group| group.arms.get_mut(arm)) {
            cell.revise(before, reward.clamp(-1.0, 1.0), outcome);
        }
    }

    /// Counts an action whose outcome is unknown.
    pub fn censor(&mut self, arm: &Arc<str>) {
        *self.censored.entry(Arc::clone(arm)).or_default() += 1;
    }

    /// Actions whose outcome is unknown, by arm.
    pub fn censored(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.censored
    }

    /// Posterior of an arm in a context.
    pub fn posterior(&self, context: &Context, arm: &str, prior: Prior) -> Posterior {
        let own = self
            .groups
            .get(&context.key())
            .and_then(|group| group.arms.get(arm));
        let borrowed = self
            .groups
            .values()
            .filter(|group| group.context.failure == context.failure && group.context != *context)
            .filter_map(|group| group.arms.get(arm));
        Posterior::new(prior, borrowed, MOST_BORROWED, own)
    }

    fn cell(&self, context: &Context, arm: &str) -> Option<&Cell> {
        self.groups.get(&context.key())?.arms.get(arm)
    }

    /// All cells: context, arm, observations.
    pub fn cells(&self) -> impl Iterator<Item = (&Context, &Arc<str>, &Cell)> {
        self.groups.values().flat_map(|group| {
            group
                .arms
                .iter()
                .map(move |(arm, cell)| (&group.context, arm, cell))
        })
    }

    /// Probability that an arm is better than doing nothing.
    pub(crate) fn probability_better(
        &self,
        context: &Context,
        arm: &str,
        prior: Prior,
        nothing: Prior,
    ) -> f64 {
        self.posterior(context, arm, prior)
            .probability_above(&self.posterior(context, NOTHING, nothing))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn candidates(n: usize) -> Vec<Candidate> {
        (0..n)
            .map(|i| Candidate {
                arm: format!("arm{i}").into(),
                prior: Prior {
                    mean: 0.5,
                    weight: 2.0,
                },
            })
            .collect()
    }

    fn context() -> Context {
        Context::new("kv_preemption", Urgency::Soon, Load::High, "gpu")
    }

    /// Plays `rounds` against arms with these means and returns how often each was chosen in the last quarter.
    fn play(learner: &mut Learner, means: &[f64], rounds: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let candidates = candidates(means.len());
        let mut late = vec![0; means.len()];
        for round in 0..rounds {
            let choice = learner.choose(&context(), &candidates, rng);
            let place = candidates
                .iter()
                .position(|c| c.arm == choice.arm)
                .expect("it is one of them");
            let noise: f64 = rng.random_range(-0.2..0.2);
            learner.observe(&context(), &choice.arm, means[place] + noise, Outcome::Success);
            if round >= rounds * 3 / 4 {
                late[place] += 1;
            }
        }
        late
    }

    #[test]
    fn the_best_arm_is_found_and_a_flip_is_followed() {
        for seed in 0..10 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut learner = Learner::default();
            let late = play(&mut learner, &[0.3, 0.8, 0.5, 0.1], 200, &mut rng);
            assert!(late[1] >= 45, "seed {seed}: {late:?}");
            let late = play(&mut learner, &[0.3, 0.1, 0.7, 0.1], 200, &mut rng);
            assert!(late[2] >= 40, "seed {seed} after the flip: {late:?}");
        }
    }

    #[test]
    fn propensities_are_those_of_the_choices() {
        let mut learner = Learner::default();
        for _ in 0..3 {
            learner.observe(&context(), &"arm0".into(), 0.6, Outcome::Success);
        }
        let candidates = candidates(3);
        let (mut counts, mut expected) = (BTreeMap::<Arc<str>, f64>::new(), BTreeMap::<Arc<str>, f64>::new());
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..2000 {
            let choice = learner.choose(&context(), &candidates, &mut rng);
            assert!((choice.propensities.values().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(choice.propensity() > 0.0);
            *counts.entry(Arc::clone(&choice.arm)).or_default() += 1.0 / 2000.0;
            for (arm, p) in choice.propensities {
                *expected.entry(arm).or_default() += p / 2000.0;
            }
        }
        for (arm, p) in expected {
            assert!((counts[&arm] - p).abs() < 0.04, "{arm}: {} and {p}", counts[&arm]);
        }
    }

    #[test]
    fn other_contexts_of_the_same_failure_are_borrowed_from() {
        let mut learner = Learner::default();
        let elsewhere = Context::new("kv_preemption", Urgency::Present, Load::Low, "gpu");
        let prior = Prior {
            mean: 0.5,
            weight: 2.0,
        };
        for _ in 0..50 {
            learner.observe(&elsewhere, &"arm0".into(), 0.9, Outcome::Success);
        }
        let borrowed = learner.posterior(&context(), "arm0", prior);
        assert!(borrowed.mean > 0.75 && borrowed.deviation > 0.04, "{borrowed:?}");
        for _ in 0..20 {
            learner.observe(&context(), &"arm0".into(), 0.2, Outcome::Failure);
        }
        assert!(learner.posterior(&context(), "arm0", prior).mean < 0.5);
    }

    #[test]
    fn censored_outcomes_teach_nothing() {
        let mut learner = Learner::default();
        let prior = Prior {
            mean: 0.5,
            weight: 2.0,
        };
        let before = learner.posterior(&context(), "arm0", prior);
        learner.censor(&"arm0".into());
        assert_eq!(learner.posterior(&context(), "arm0", prior), before);
        assert_eq!(learner.censored()["arm0"], 1);
    }

    #[test]
    fn reads_back_from_json() {
        let mut learner = Learner::default();
        learner.observe(&context(), &"arm0".into(), 0.25, Outcome::Failure);
        let text = serde_json::to_string(&learner).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Learner>(&text).expect("it reads back"),
            learner
        );
    }
}
