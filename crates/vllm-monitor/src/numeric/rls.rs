//! Recursive least squares with forgetting: a linear model learned one sample at a time.

use serde::{Deserialize, Serialize};

/// Number of features of the one model that uses this.
pub const FEATURES: usize = 4;

/// `y ≈ weights · features`, newer samples counting more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rls {
    weights: [f64; FEATURES],
    /// The inverse of the weighted sum of outer products of features: how little is known in each direction.
    inverse: [[f64; FEATURES]; FEATURES],
    samples: u64,
}

impl Rls {
    /// Nothing known: `uncertainty` is the prior variance of each weight relative to the noise.
    pub fn new(uncertainty: f64) -> Self {
        let mut inverse = [[0.0; FEATURES]; FEATURES];
        for (i, row) in inverse.iter_mut().enumerate() {
            row[i] = uncertainty;
        }
        Self {
            weights: [0.0; FEATURES],
            inverse,
            samples: 0,
        }
    }

    /// The model's answer for these features.
    pub fn predict(&self, features: &[f64; FEATURES]) -> f64 {
        dot(&self.weights, features)
    }

    /// How far these features lie from what was learned: the variance of the answer relative to that of one sample's
    /// noise. Near 0 where much was seen; above 1 the answer is worth less than a single sample.
    pub fn leverage(&self, features: &[f64; FEATURES]) -> f64 {
        dot(features, &self.times(features)).max(0.0)
    }

    /// Learns one sample. `forgetting` is the factor by which older samples count less at each new one (0.999: the
    /// last thousand matter).
    ///
    /// ```
    /// use vllm_monitor::numeric::rls::Rls;
    ///
    /// let mut model = Rls::new(1e6);
    /// for i in 0..50 {
    ///     let x = f64::from(i % 10);
    ///     model.learn(&[1.0, x, 0.0, 0.0], 3.0 + 2.0 * x, 1.0);
    /// }
    /// assert!((model.predict(&[1.0, 4.0, 0.0, 0.0]) - 11.0).abs() < 1e-3);
    /// ```
    pub fn learn(&mut self, features: &[f64; FEATURES], y: f64, forgetting: f64) {
        if !y.is_finite() || features.iter().any(|f| !f.is_finite()) {
            return;
        }
        let direction = self.times(features);
        let scale = forgetting + dot(features, &direction);
        if scale <= 0.0 || !scale.is_finite() {
            return;
        }
        let error = y - self.predict(features);
        for (weight, step) in self.weights.iter_mut().zip(&direction) {
            *weight += step / scale * error;
        }
        // A direction that no sample excites would otherwise grow without bound as old samples are forgotten.
        let trace: f64 = (0..FEATURES).map(|i| self.inverse[i][i]).sum();
        let grow = if trace < 1e9 { 1.0 / forgetting } else { 1.0 };
        for i in 0..FEATURES {
            for j in 0..=i {
                let value = (self.inverse[i][j] - direction[i] * direction[j] / scale) * grow;
                self.inverse[i][j] = value;
                self.inverse[j][i] = value;
            }
            self.inverse[i][i] = self.inverse[i][i].max(1e-12);
        }
        self.samples += 1;
    }

    /// Samples learned.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    fn times(&self, features: &[f64; FEATURES]) -> [f64; FEATURES] {
        std::array::from_fn(|i| dot(&self.inverse[i], features))
    }
}

fn dot(a: &[f64; FEATURES], b: &[f64; FEATURES]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leverage_is_low_where_samples_were_and_high_elsewhere() {
        let mut model = Rls::new(1e6);
        for i in 0..500 {
            model.learn(&[1.0, f64::from(i % 10), 0.0, 0.0], 1.0, 0.999);
        }
        let (inside, outside) = (
            model.leverage(&[1.0, 5.0, 0.0, 0.0]),
            model.leverage(&[1.0, 100.0, 0.0, 0.0]),
        );
        assert!(inside < 0.05 && outside > 1.0, "{inside} {outside}");
    }

    #[test]
    fn a_week_of_one_operating_point_keeps_it_finite() {
        let mut model = Rls::new(1e6);
        for _ in 0..604_800 {
            model.learn(&[1.0, 8.0, 8000.0, 0.0], 0.02, 0.999);
        }
        let answer = model.predict(&[1.0, 8.0, 8000.0, 0.0]);
        assert!((answer - 0.02).abs() < 1e-6, "{answer}");
        assert!(model.leverage(&[1.0, 16.0, 16000.0, 1.0]).is_finite());
    }
}
