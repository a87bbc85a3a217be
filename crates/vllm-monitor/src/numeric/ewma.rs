//! Exponentially weighted means of samples, and of rates, at irregular intervals.

use serde::{Deserialize, Serialize};

/// A mean whose weights decay with a time constant. Before the first sample there is no mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ewma {
    tau_secs: f64,
    sum: f64,
    weight: f64,
}

impl Ewma {
    /// `tau_secs` is the age at which a sample's weight has fallen to 37 %.
    pub fn new(tau_secs: f64) -> Self {
        Self {
            tau_secs,
            sum: 0.0,
            weight: 0.0,
        }
    }

    /// Adds a value that held for the last `dt_secs`.
    ///
    /// ```
    /// use vllm_monitor::numeric::ewma::Ewma;
    ///
    /// let mut mean = Ewma::new(10.0);
    /// assert_eq!(mean.mean(), None);
    /// mean.add(4.0, 1.0);
    /// mean.add(4.0, 3.0);
    /// assert!((mean.mean().unwrap() - 4.0).abs() < 1e-12);
    /// ```
    pub fn add(&mut self, value: f64, dt_secs: f64) {
        if !value.is_finite() || !dt_secs.is_finite() || dt_secs <= 0.0 {
            return;
        }
        let keep = (-dt_secs / self.tau_secs).exp();
        self.sum = self.sum * keep + value * (1.0 - keep);
        self.weight = self.weight * keep + (1.0 - keep);
    }

    /// The mean so far. Its start is not biased towards zero.
    pub fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }

    /// Between 0 (no sample) and 1 (many time constants of samples).
    pub fn weight(&self) -> f64 {
        self.weight
    }
}

/// The quotient of two decaying sums, such as seconds per token: each is weighted alike, so intervals with more
/// tokens count for more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatioEwma {
    tau_secs: f64,
    numerator: f64,
    denominator: f64,
}

impl RatioEwma {
    /// See [`Ewma::new`].
    pub fn new(tau_secs: f64) -> Self {
        Self {
            tau_secs,
            numerator: 0.0,
            denominator: 0.0,
        }
    }

    /// Adds the increase of both over the last `dt_secs`.
    pub fn add(&mut self, numerator: f64, denominator: f64, dt_secs: f64) {
        if !(numerator.is_finite() && denominator.is_finite() && dt_secs > 0.0) {
            return;
        }
        let keep = (-dt_secs / self.tau_secs).exp();
        self.numerator = self.numerator * keep + numerator;
        self.denominator = self.denominator * keep + denominator;
    }

    /// The quotient; `None` while the denominator is too small to mean anything.
    pub fn ratio(&self) -> Option<f64> {
        (self.denominator > 1e-9).then(|| self.numerator / self.denominator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_step_in_its_time_constant() {
        let mut mean = Ewma::new(10.0);
        for _ in 0..100 {
            mean.add(0.0, 1.0);
        }
        for _ in 0..10 {
            mean.add(1.0, 1.0);
        }
        let after_tau = mean.mean().expect("has samples");
        assert!((after_tau - 0.632).abs() < 0.01, "{after_tau}");
    }

    #[test]
    fn hostile_samples_change_nothing() {
        let mut mean = Ewma::new(10.0);
        mean.add(2.0, 1.0);
        for (value, dt) in [
            (f64::NAN, 1.0),
            (f64::INFINITY, 1.0),
            (3.0, 0.0),
            (3.0, -1.0),
            (3.0, f64::NAN),
        ] {
            mean.add(value, dt);
        }
        assert!((mean.mean().expect("one sample") - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_ratio_weighs_by_its_denominator() {
        let mut itl = RatioEwma::new(100.0);
        itl.add(1.0, 10.0, 1.0); // 10 tokens at 0.1 s
        itl.add(9.0, 30.0, 1.0); // 30 tokens at 0.3 s
        let ratio = itl.ratio().expect("has samples");
        assert!((ratio - 0.25).abs() < 0.01, "{ratio}");
    }
}
