//! Estimates the reward of another policy from a log with propensities.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One logged choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logged {
    /// Key of the context.
    pub context: String,
    /// The arm that was chosen.
    pub arm: Arc<str>,
    /// Its probability.
    pub propensity: f64,
    /// Its reward.
    pub reward: f64,
}

/// Estimates of a policy's mean reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OffPolicy {
    /// Inverse propensity scoring, normalized by the sum of the weights.
    pub ips: f64,
    /// Doubly robust: a table of mean rewards, corrected by inverse propensity scoring.
    pub doubly_robust: f64,
    /// Effective number of observations: low if the policies differ much.
    pub effective: f64,
}

/// Estimates the reward of a policy. `policy` gives the probability of choosing an arm in a context. `None`
/// if the log contains no choice that the policy would have made.
pub fn evaluate(log: &[Logged], policy: impl Fn(&str, &str) -> f64) -> Option<OffPolicy> {
    let mut table: BTreeMap<(&str, &str), (f64, f64)> = BTreeMap::new();
    let mut arms: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in log {
        let cell = table.entry((&entry.context, &entry.arm)).or_default();
        cell.0 += entry.reward;
        cell.1 += 1.0;
        let known = arms.entry(&entry.context).or_default();
        if !known.contains(&&*entry.arm) {
            known.push(&entry.arm);
        }
    }
    let mean = |context: &str, arm: &str| table.get(&(context, arm)).map_or(0.0, |(sum, n)| sum / n);
    let (mut weights, mut squares, mut weighted, mut robust) = (0.0, 0.0, 0.0, 0.0);
    for entry in log.iter().filter(|entry| entry.propensity > 0.0) {
        let weight = policy(&entry.context, &entry.arm) / entry.propensity;
        weights += weight;
        squares += weight * weight;
        weighted += weight * entry.reward;
        let expected: f64 = arms[entry.context.as_str()]
            .iter()
            .map(|arm| policy(&entry.context, arm) * mean(&entry.context, arm))
            .sum();
        robust += expected + weight * (entry.reward - mean(&entry.context, &entry.arm));
    }
    (weights > 0.0).then(|| OffPolicy {
        ips: weighted / weights,
        doubly_robust: robust / log.len() as f64,
        effective: weights * weights / squares,
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn another_policy_is_estimated_from_the_log() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let means = BTreeMap::from([("a", 0.2), ("b", 0.5), ("c", 0.9)]);
        let log: Vec<Logged> = (0..4000)
            .map(|_| {
                let u: f64 = rng.random();
                let (arm, propensity) = match u {
                    _ if u < 0.6 => ("a", 0.6),
                    _ if u < 0.9 => ("b", 0.3),
                    _ => ("c", 0.1),
                };
                Logged {
                    context: "x".into(),
                    arm: arm.into(),
                    propensity,
                    reward: means[arm] + rng.random_range(-0.1..0.1),
                }
            })
            .collect();
        let estimate = evaluate(&log, |_, arm| if arm == "c" { 0.8 } else { 0.1 }).expect("it overlaps");
        let truth = 0.8 * 0.9 + 0.1 * 0.5 + 0.1 * 0.2;
        assert!((estimate.ips - truth).abs() < 0.03, "{estimate:?}, not {truth}");
        assert!(
            (estimate.doubly_robust - truth).abs() < 0.02,
            "{estimate:?}, not {truth}"
        );
        assert!(estimate.effective < 4000.0);
        assert_eq!(evaluate(&log, |_, _| 0.0), None);
    }
}
