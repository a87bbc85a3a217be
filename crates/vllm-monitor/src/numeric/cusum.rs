//! Two-sided cumulative sum (CUSUM): detects a persistent shift of a mean that is small compared with the noise.

use serde::{Deserialize, Serialize};

/// Sums of what exceeds an allowance, upwards and downwards, never below zero.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cusum {
    up: f64,
    down: f64,
}

impl Cusum {
    /// Adds a deviation from the expected value. Deviations below `allowance`, half of the shift that matters, let
    /// the sums fall; `cap` bounds them, so that recovery takes bounded time.
    ///
    /// ```
    /// use vllm_monitor::numeric::cusum::Cusum;
    ///
    /// let mut sums = Cusum::default();
    /// for _ in 0..10 {
    ///     sums.add(0.3, 0.1, 100.0);
    /// }
    /// assert!((sums.up() - 2.0).abs() < 1e-9 && sums.down() == 0.0);
    /// ```
    pub fn add(&mut self, deviation: f64, allowance: f64, cap: f64) {
        if !deviation.is_finite() {
            return;
        }
        self.up = (self.up + deviation - allowance).clamp(0.0, cap);
        self.down = (self.down - deviation - allowance).clamp(0.0, cap);
    }

    /// Evidence of a shift upwards, in the unit of the deviations times samples.
    pub fn up(&self) -> f64 {
        self.up
    }

    /// Evidence of a shift downwards.
    pub fn down(&self) -> f64 {
        self.down
    }

    /// Forgets both sums.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_below_the_allowance_never_adds_up() {
        let mut sums = Cusum::default();
        for i in 0..10_000 {
            sums.add(if i % 2 == 0 { 0.5 } else { -0.5 }, 0.1, 100.0);
        }
        assert!(sums.up() <= 0.5 && sums.down() <= 0.5, "{sums:?}");
    }

    #[test]
    fn a_shift_down_is_seen_and_the_cap_holds() {
        let mut sums = Cusum::default();
        for _ in 0..1000 {
            sums.add(-1.0, 0.25, 5.0);
        }
        assert_eq!((sums.up(), sums.down()), (0.0, 5.0));
        sums.add(f64::NAN, 0.25, 5.0);
        assert_eq!(sums.down(), 5.0);
    }
}
