//! How good probabilities were once outcomes are known: Brier score, skill, calibration error.

use serde::{Deserialize, Serialize};

/// Bins of equal width over 0 to 1.
pub const BINS: usize = 10;

/// Running sums over (probability, outcome) pairs, in constant memory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Scores {
    pairs: f64,
    positives: f64,
    squared_error: f64,
    bins: [Bin; BINS],
}

/// The pairs whose probability fell into one bin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bin {
    /// Pairs.
    pub pairs: f64,
    /// Sum of their probabilities.
    pub probability: f64,
    /// Those that happened.
    pub positives: f64,
}

impl Scores {
    /// Adds a probability and whether it happened.
    ///
    /// ```
    /// use vllm_monitor::numeric::score::Scores;
    ///
    /// let mut scores = Scores::default();
    /// for i in 0..100 {
    ///     scores.add(0.2, i % 5 == 0);
    /// }
    /// assert!((scores.brier().unwrap() - 0.16).abs() < 1e-9);
    /// assert!(scores.skill().unwrap().abs() < 1e-9, "no better than the base rate");
    /// assert!(scores.calibration_error().unwrap() < 1e-9);
    /// ```
    pub fn add(&mut self, probability: f64, happened: bool) {
        if !probability.is_finite() {
            return;
        }
        let p = probability.clamp(0.0, 1.0);
        let outcome = f64::from(u8::from(happened));
        self.pairs += 1.0;
        self.positives += outcome;
        self.squared_error += (p - outcome) * (p - outcome);
        let bin = &mut self.bins[((p * BINS as f64) as usize).min(BINS - 1)];
        bin.pairs += 1.0;
        bin.probability += p;
        bin.positives += outcome;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.positives += other.positives;
        self.squared_error += other.squared_error;
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.pairs += more.pairs;
            bin.probability += more.probability;
            bin.positives += more.positives;
        }
    }

    /// Pairs counted.
    pub fn pairs(&self) -> f64 {
        self.pairs
    }

    /// Pairs that happened.
    pub fn positives(&self) -> f64 {
        self.positives
    }

    /// Share of pairs that happened.
    pub fn base_rate(&self) -> Option<f64> {
        (self.pairs > 0.0).then(|| self.positives / self.pairs)
    }

    /// Mean squared error, 0 is perfect.
    pub fn brier(&self) -> Option<f64> {
        (self.pairs > 0.0).then(|| self.squared_error / self.pairs)
    }

    /// `1 − Brier / Brier of always saying the base rate`: 1 is perfect, 0 no better than the base rate. `None` if
    /// everything or nothing happened.
    pub fn skill(&self) -> Option<f64> {
        let rate = self.base_rate()?;
        let reference = rate * (1.0 - rate);
        (reference > 0.0).then_some(1.0 - self.brier()? / reference)
    }

    /// Expected calibration error: mean distance between the probability given and the share that happened.
    pub fn calibration_error(&self) -> Option<f64> {
        (self.pairs > 0.0).then(|| {
            let distance = |bin: &Bin| (bin.probability - bin.positives).abs();
            self.bins.iter().map(distance).sum::<f64>() / self.pairs
        })
    }

    /// The bins of the reliability diagram, from 0 to 1.
    pub fn bins(&self) -> &[Bin; BINS] {
        &self.bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_and_useless_forecasts() {
        let (mut perfect, mut wrong) = (Scores::default(), Scores::default());
        for i in 0..100 {
            let happened = i % 3 == 0;
            perfect.add(if happened { 1.0 } else { 0.0 }, happened);
            wrong.add(if happened { 0.0 } else { 1.0 }, happened);
        }
        assert_eq!((perfect.brier(), perfect.skill()), (Some(0.0), Some(1.0)));
        assert!(wrong.skill().expect("both outcomes") < 0.0);
        assert_eq!(wrong.calibration_error(), Some(1.0));
    }

    #[test]
    fn nothing_counted_is_no_score() {
        let scores = Scores::default();
        assert_eq!(
            (scores.brier(), scores.skill(), scores.calibration_error()),
            (None, None, None)
        );
        let mut certain = Scores::default();
        certain.add(0.5, true);
        assert_eq!(certain.skill(), None);
    }

    #[test]
    fn merging_is_counting_together() {
        let (mut a, mut b, mut both) = (Scores::default(), Scores::default(), Scores::default());
        for i in 0..50 {
            let (p, happened) = (f64::from(i) / 50.0, i % 2 == 0);
            (if i < 20 { &mut a } else { &mut b }).add(p, happened);
            both.add(p, happened);
        }
        a.merge(&b);
        assert!((a.brier().unwrap() - both.brier().unwrap()).abs() < 1e-12);
        assert!((a.calibration_error().unwrap() - both.calibration_error().unwrap()).abs() < 1e-12);
    }
}
