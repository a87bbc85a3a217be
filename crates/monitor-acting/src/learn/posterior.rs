//! The posterior of an arm's mean reward.

use serde::{Deserialize, Serialize};

use crate::arm::Prior;
use crate::verify::Outcome;

/// Factor on the weight of earlier observations of an arm after each new one: half after 23.
const FORGET: f64 = 0.97;
/// Weight of a new residual in the running surprise.
const SURPRISE_RATE: f64 = 0.35;
/// Mean standardized residual that indicates a changed arm.
const SURPRISE: f64 = 1.6;
/// Minimum observations before a surprise.
const SETTLED: f64 = 4.0;
/// Prior standard deviation of rewards, and its weight in observations.
const DEVIATION: f64 = 0.2;
const DEVIATION_WEIGHT: f64 = 4.0;

/// An observation that was learned, to revise it later.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learned {
    pub(crate) reward: f64,
    pub(crate) outcome: Outcome,
    /// [`Cell::faded`] when it was added.
    faded: f64,
}

/// Observations of one arm in one context, with decreasing weight of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cell {
    weight: f64,
    mean: f64,
    /// Weighted sum of squared deviations from the mean.
    squares: f64,
    surprise: f64,
    /// Sum of the logarithms of all factors by which weights were reduced.
    faded: f64,
    /// Observations, unweighted.
    pub count: u64,
    /// Of these, successes.
    pub successes: u64,
    /// Partial successes.
    pub partial: u64,
    /// Those that made it worse.
    pub worse: u64,
}

impl Cell {
    /// Adds a reward. Returns whether the arm's behaviour changed, so that earlier observations were
    /// discounted.
    pub(crate) fn add(&mut self, reward: f64, outcome: Outcome) -> bool {
        self.count += 1;
        if let Some(counter) = self.counter(outcome) {
            *counter += 1;
        }
        let deviation = ((DEVIATION * DEVIATION * DEVIATION_WEIGHT + self.squares)
            / (DEVIATION_WEIGHT + self.weight))
            .sqrt()
            .max(0.05);
        let mut surprised = false;
        if self.weight >= SETTLED {
            let z = ((reward - self.mean) / deviation).clamp(-4.0, 4.0);
            self.surprise += SURPRISE_RATE * (z - self.surprise);
            if self.surprise.abs() > SURPRISE {
                self.forget(0.1);
                self.surprise = 0.0;
                surprised = true;
            }
        }
        self.forget(FORGET);
        self.weight += 1.0;
        let off = reward - self.mean;
        self.mean += off / self.weight;
        self.squares += off * (reward - self.mean);
        surprised
    }

    /// Reduces the weight of the observations.
    pub(crate) fn forget(&mut self, factor: f64) {
        self.weight *= factor;
        self.squares *= factor;
        self.faded += factor.ln();
    }

    fn counter(&mut self, outcome: Outcome) -> Option<&mut u64> {
        match outcome {
            Outcome::Success => Some(&mut self.successes),
            Outcome::PartialSuccess => Some(&mut self.partial),
            Outcome::MadeWorse => Some(&mut self.worse),
            Outcome::Failure | Outcome::NotApplicable => None,
        }
    }

    /// What is needed to revise the observation that was just added.
    pub(crate) fn learned(&self, reward: f64, outcome: Outcome) -> Learned {
        Learned {
            reward,
            outcome,
            faded: self.faded,
        }
    }

    /// Replaces an earlier observation, with the weight that it still has. The number of observations stays.
    pub(crate) fn revise(&mut self, before: Learned, reward: f64, outcome: Outcome) {
        if let Some(counter) = self.counter(before.outcome) {
            *counter = counter.saturating_sub(1);
        }
        if let Some(counter) = self.counter(outcome) {
            *counter += 1;
        }
        let weight = (self.faded - before.faded).exp().min(self.weight);
        if weight <= 0.0 {
            return;
        }
        let rest = self.weight - weight;
        let (mut mean, mut squares) = (reward, 0.0);
        if rest > 1e-9 {
            mean = (self.weight * self.mean - weight * before.reward) / rest;
            squares = self.squares - weight * (before.reward - self.mean) * (before.reward - mean);
        }
        let off = reward - mean;
        self.mean = mean + weight * off / self.weight;
        self.squares = (squares + weight * off * (reward - self.mean)).max(0.0);
    }

    /// Mean of the rewards, with more weight on recent ones; `None` if there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }
}

/// Posterior of an arm's mean reward: a normal distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Posterior {
    /// Expected reward.
    pub mean: f64,
    /// Standard deviation of that expectation.
    pub deviation: f64,
    /// Observations behind it, including the prior.
    pub weight: f64,
}

impl Posterior {
    pub(crate) fn new<'a>(
        prior: Prior,
        borrowed: impl Iterator<Item = &'a Cell>,
        most_borrowed: f64,
        own: Option<&Cell>,
    ) -> Self {
        let (mut weight, mut sum) = (prior.weight, prior.weight * prior.mean);
        for cell in borrowed {
            weight += cell.weight;
            sum += cell.weight * cell.mean;
        }
        let mean = sum / weight;
        let weight = weight.min(most_borrowed.max(prior.weight));
        let own = own.copied().unwrap_or_default();
        let total = weight + own.weight;
        let variance =
            (DEVIATION * DEVIATION * DEVIATION_WEIGHT + own.squares) / (DEVIATION_WEIGHT + own.weight);
        Self {
            mean: (weight * mean + own.weight * own.mean) / total,
            deviation: (variance / total).sqrt(),
            weight: total,
        }
    }

    /// The interval that holds the mean with probability 80 %.
    pub fn interval(&self) -> (f64, f64) {
        let half = 1.2816 * self.deviation;
        (self.mean - half, self.mean + half)
    }

    /// Standard deviation of a single reward, including the uncertainty of the mean.
    pub fn of_one(&self) -> f64 {
        self.deviation * (self.weight + 1.0).sqrt()
    }

    /// Probability that this mean is above the other.
    pub fn probability_above(&self, other: &Self) -> f64 {
        let deviation = self.deviation.hypot(other.deviation).max(1e-12);
        normal_cdf((self.mean - other.mean) / deviation)
    }
}

/// Standard normal distribution function, by the logistic-like approximation of Abramowitz and Stegun 26.2.17
/// (absolute error below 1e-7).
fn normal_cdf(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = poly * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_function_is_right() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.96, 0.024_997_9), (6.0, 1.0)] {
            assert!((normal_cdf(z) - p).abs() < 1e-6, "{z}: {}", normal_cdf(z));
        }
    }

    #[test]
    fn failures_lower_the_posterior() {
        let prior = Prior {
            mean: 0.7,
            weight: 3.0,
        };
        let mut cell = Cell::default();
        let mut before = Posterior::new(prior, std::iter::empty(), 8.0, None).mean;
        for _ in 0..10 {
            cell.add(0.1, Outcome::Failure);
            let after = Posterior::new(prior, std::iter::empty(), 8.0, Some(&cell)).mean;
            assert!(after < before);
            before = after;
        }
        assert!(before < 0.3);
        assert_eq!((cell.count, cell.successes), (10, 0));
    }

    #[test]
    fn a_revised_observation_counts_as_if_it_had_been_the_other() {
        let rewards = [0.9, 0.8, 0.95, 0.7];
        let (mut revised, mut direct) = (Cell::default(), Cell::default());
        revised.add(0.85, Outcome::Success);
        direct.add(0.1, Outcome::MadeWorse);
        let learned = revised.learned(0.85, Outcome::Success);
        for reward in &rewards[..3] {
            revised.add(*reward, Outcome::Success);
            direct.add(*reward, Outcome::Success);
        }
        revised.forget(0.5);
        direct.forget(0.5);
        revised.revise(learned, 0.1, Outcome::MadeWorse);
        assert!(
            (revised.mean - direct.mean).abs() < 1e-9,
            "{revised:?} {direct:?}"
        );
        assert!(
            (revised.squares - direct.squares).abs() < 1e-9,
            "{revised:?} {direct:?}"
        );
        assert_eq!((revised.count, revised.successes, revised.worse), (4, 3, 1));
    }

    #[test]
    fn the_only_observation_can_be_revised() {
        let mut cell = Cell::default();
        cell.add(0.9, Outcome::PartialSuccess);
        let learned = cell.learned(0.9, Outcome::PartialSuccess);
        cell.revise(learned, 0.2, Outcome::MadeWorse);
        assert_eq!(
            (cell.mean(), cell.count, cell.partial, cell.worse),
            (Some(0.2), 1, 0, 1)
        );
    }

    #[test]
    fn a_change_cuts_the_past() {
        let mut cell = Cell::default();
        for i in 0..60 {
            cell.add(if i % 2 == 0 { 0.75 } else { 0.85 }, Outcome::Success);
        }
        let mut needed = 0;
        while cell.mean > 0.4 {
            cell.add(0.1, Outcome::Failure);
            needed += 1;
        }
        assert!(needed <= 6, "{needed}");
    }
}
