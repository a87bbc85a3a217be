//! When a drifting, noisy level reaches a barrier: Brownian motion with drift.

use crate::normal;

/// A level that moves with a drift and a variance per second, a distance away from a barrier.
///
/// The time of the first touch has the inverse Gaussian distribution (defective for a drift away from the barrier):
/// P(T ≤ h) = Φ((μh − d) / √(σ²h)) + exp(2μd / σ²) Φ((−μh − d) / √(σ²h)). Source: Chhikara and Folks, The Inverse
/// Gaussian Distribution, chapter 3.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FirstPassage {
    /// How far the level is from the barrier now, in the level's unit; at or below 0 the barrier is reached.
    pub distance: f64,
    /// Movement towards the barrier per second; negative away from it.
    pub drift_per_sec: f64,
    /// Growth of the level's variance per second, in the level's unit squared; 0 for a level without noise.
    pub variance_per_sec: f64,
}

impl FirstPassage {
    /// Probability that the barrier is reached within so many seconds.
    ///
    /// ```
    /// use run_statistics::FirstPassage;
    /// let level = FirstPassage { distance: 0.1, drift_per_sec: 0.01, variance_per_sec: 1e-4 };
    /// assert!((level.probability_within(10.0) - 0.561606970).abs() < 1e-9);
    /// assert_eq!(level.probability_within(0.0), 0.0);
    /// ```
    pub fn probability_within(&self, secs: f64) -> f64 {
        if self.distance <= 0.0 {
            return 1.0;
        }
        if secs <= 0.0 {
            return 0.0;
        }
        if secs.is_infinite() {
            return self.probability_ever();
        }
        if self.variance_per_sec <= 0.0 {
            return if self.drift_per_sec * secs >= self.distance {
                1.0
            } else {
                0.0
            };
        }
        let spread = (self.variance_per_sec * secs).sqrt();
        let moved = self.drift_per_sec * secs;
        let direct = normal::cdf((moved - self.distance) / spread);
        // The product is formed from logarithms: its factors overflow and underflow where it is moderate.
        let ln_reflected = 2.0 * self.drift_per_sec * self.distance / self.variance_per_sec
            + normal::ln_cdf((-moved - self.distance) / spread);
        (direct + ln_reflected.exp()).clamp(0.0, 1.0)
    }

    /// Probability, 0 to 1, that the barrier is ever reached: the limit of [`FirstPassage::probability_within`] for long
    /// times. 1 if it is reached already, if the level drifts towards it, or for noise without drift; below 1 for a
    /// drift away from it; 0 for a level without noise that does not drift towards it.
    pub fn probability_ever(&self) -> f64 {
        if self.distance <= 0.0 || self.drift_per_sec > 0.0 {
            return 1.0;
        }
        if self.variance_per_sec <= 0.0 {
            return 0.0;
        }
        (2.0 * self.drift_per_sec * self.distance / self.variance_per_sec).exp()
    }

    /// The time in seconds within which the barrier is reached with probability `p`. `None` if that probability is
    /// never reached, or `p` lies outside 0 to 1.
    ///
    /// ```
    /// use run_statistics::FirstPassage;
    /// let level = FirstPassage { distance: 10.0, drift_per_sec: 2.0, variance_per_sec: 1.0 };
    /// let median = level.time_quantile_secs(0.5).unwrap();
    /// assert!((level.probability_within(median) - 0.5).abs() < 1e-12);
    /// let away = FirstPassage { drift_per_sec: -2.0, ..level };
    /// assert_eq!(away.time_quantile_secs(0.5), None);
    /// ```
    pub fn time_quantile_secs(&self, p: f64) -> Option<f64> {
        if !(0.0..=1.0).contains(&p) {
            return None;
        }
        if self.distance <= 0.0 || p == 0.0 {
            return Some(0.0);
        }
        if self.variance_per_sec <= 0.0 {
            return (self.drift_per_sec > 0.0).then(|| self.distance / self.drift_per_sec);
        }
        // At its limit the probability is only reached after infinite time.
        if p >= self.probability_ever() {
            return None;
        }
        let (mut low, mut high) = (0.0, 1.0);
        while self.probability_within(high) < p {
            low = high;
            high *= 2.0;
            if high.is_infinite() {
                return None;
            }
        }
        while low == 0.0 && self.probability_within(high / 2.0) >= p {
            high /= 2.0;
        }
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if self.probability_within(middle) < p {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(high)
    }
}
