//! A level that moves towards a barrier with constant drift and noise.

use super::curve::Curve;
use crate::numeric::first_passage;

/// A level with drift and diffusion and no restoring force, such as leaking memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Passage {
    /// From the level to the barrier, in the level's unit.
    pub(super) distance: f64,
    /// Units per second.
    pub(super) drift: f64,
    /// Squared units per second.
    pub(super) variance_rate: f64,
    /// Standard error of the drift, in units per second.
    pub(super) drift_error: f64,
}

impl Passage {
    /// Probability that the barrier is reached within `secs`. The error of the drift widens the
    /// distribution with time.
    pub(super) fn probability(&self, secs: f64) -> f64 {
        let variance_rate = self.variance_rate + self.drift_error * self.drift_error * secs;
        first_passage::probability(self.distance, self.drift, variance_rate, secs)
    }

    /// Probabilities over time.
    pub(super) fn curve(&self) -> Curve {
        Curve::of(|secs| self.probability(secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_ramp_arrives_on_time() {
        let ramp = Passage {
            distance: 0.3,
            drift: 0.01,
            variance_rate: 1e-6,
            drift_error: 0.0,
        };
        let p = ramp.curve().horizons().as_array();
        assert!(p[0] < 0.01 && p[2] > 0.99, "{p:?}");
        let when = ramp.curve().time_to_failure().expect("it arrives after 30 s");
        assert!((20.0..40.0).contains(&when.p50_secs), "{when:?}");
    }
}
