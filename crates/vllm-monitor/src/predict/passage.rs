//! A level on its way to a barrier: probabilities at the horizons and when.

use crate::forecast::{HORIZONS_SECS, Horizons, TimeToFailure};
use crate::numeric::first_passage;

/// Longest time that is looked ahead, in seconds.
const LONGEST_SECS: f64 = 3600.0;

/// Probability at 300 s below which no time is named.
const WORTH_A_TIME: f64 = 0.05;

/// A level that returns to where its inflow and outflow balance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Passage {
    /// From the level to the barrier, in the level's unit.
    pub(super) distance: f64,
    /// Units per second now.
    pub(super) drift: f64,
    /// Units per second by which the drift itself changes each second.
    pub(super) acceleration: f64,
    /// Time after which the drift has spent itself, in seconds; infinite for a level that nothing brings back.
    pub(super) relaxation_secs: f64,
    /// Squared units per second.
    pub(super) variance_rate: f64,
    /// Standard error of the drift, in units per second.
    pub(super) drift_error: f64,
}

impl Passage {
    /// A straight line with noise.
    pub(super) fn straight(distance: f64, drift: f64, variance_rate: f64, drift_error: f64) -> Self {
        Self {
            distance,
            drift,
            acceleration: 0.0,
            relaxation_secs: f64::INFINITY,
            variance_rate,
            drift_error,
        }
    }

    /// Probability that the barrier is reached within `secs`.
    ///
    /// The path's mean and variance at the end of the horizon stand in for a constant drift and diffusion, so this is
    /// exact for a straight line and an approximation otherwise; calibration takes up the rest.
    pub(super) fn probability(&self, secs: f64) -> f64 {
        let tau = self.relaxation_secs;
        let (reach, diffuse) = if tau.is_finite() {
            let tau = tau.max(1e-3);
            (tau * (1.0 - (-secs / tau).exp()), tau / 2.0 * (1.0 - (-2.0 * secs / tau).exp()))
        } else {
            (secs, secs)
        };
        // With a drift that grows, the level lags one relaxation time behind its balance.
        let ramp = if tau.is_finite() { tau * (secs - reach) } else { secs * secs / 2.0 };
        let moved = self.drift * reach + self.acceleration * ramp;
        let variance = self.variance_rate * diffuse + (self.drift_error * reach).powi(2);
        first_passage::probability(self.distance, moved / secs, variance / secs, secs)
    }

    /// Probabilities at the horizons.
    pub(super) fn horizons(&self) -> Horizons {
        Horizons::new(HORIZONS_SECS.map(|secs| self.probability(secs)))
    }

    /// When, given that it happens within an hour; `None` if that is not to be expected within the longest horizon.
    pub(super) fn time_to_failure(&self) -> Option<TimeToFailure> {
        time_to_failure(|secs| self.probability(secs))
    }
}

/// Quantiles of the time, given that it happens within an hour.
pub(super) fn time_to_failure(probability: impl Fn(f64) -> f64) -> Option<TimeToFailure> {
    if probability(HORIZONS_SECS[3]) < WORTH_A_TIME {
        return None;
    }
    let most = probability(LONGEST_SECS);
    let quantile = |p: f64| first_passage::quantile_of(p * most, LONGEST_SECS, &probability);
    Some(TimeToFailure { p10_secs: quantile(0.1)?, p50_secs: quantile(0.5)?, p90_secs: quantile(0.9) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_straight_ramp_arrives_on_time() {
        let ramp = Passage::straight(0.3, 0.01, 1e-6, 0.0);
        let p = ramp.horizons().as_array();
        assert!(p[0] < 0.01 && p[2] > 0.99, "{p:?}");
        let when = ramp.time_to_failure().expect("it arrives after 30 s");
        assert!((25.0..35.0).contains(&when.p50_secs), "{when:?}");
    }

    #[test]
    fn a_level_that_is_held_does_not_arrive() {
        // Balance is 0.1 above the level, the barrier 0.3.
        let held = Passage {
            distance: 0.3,
            drift: 0.1 / 20.0,
            acceleration: 0.0,
            relaxation_secs: 20.0,
            variance_rate: 1e-5,
            drift_error: 0.0,
        };
        assert!(held.horizons().as_array()[3] < 0.01, "{:?}", held.horizons());
        assert_eq!(held.time_to_failure(), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_in_order(
            distance in 0.01..1.0_f64,
            drift in -0.01..0.05_f64,
            variance_rate in 1e-8..1e-3_f64,
            drift_error in 0.0..0.01_f64,
        ) {
            let passage = Passage::straight(distance, drift, variance_rate, drift_error);
            if let Some(when) = passage.time_to_failure() {
                prop_assert!(when.p10_secs <= when.p50_secs * 1.03);
                prop_assert!(when.p90_secs.is_none_or(|p90| when.p50_secs <= p90 * 1.03));
            }
        }
    }
}
