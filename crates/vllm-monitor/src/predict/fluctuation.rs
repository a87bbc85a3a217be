//! A level that fluctuates around a trend: the probability of reaching a barrier.
//!
//! The level is `trend(t) + fluctuation(t)`. The trend is a line whose slope decays exponentially, bounded from above. The
//! fluctuation has a standard deviation and a correlation time, and starts at the present distance from the trend. Time
//! is divided into intervals. In each, the probability of reaching the barrier is twice the tail probability of a
//! fluctuation of that size (reflection principle), once per correlation time, and intervals are treated as independent.
//! The error of the slope is common to all intervals, so the result is averaged over it (Gauss-Hermite quadrature).

use super::curve::{Curve, TIMES_SECS};
use super::rate::NODES;
use crate::numeric::normal::cdf;
use crate::numeric::trend::Line;

/// A level and its dynamics, in the level's unit and seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fluctuation {
    /// The level now.
    pub(super) level: f64,
    /// The trend's value now.
    pub(super) trend: f64,
    /// Its slope.
    pub(super) slope: f64,
    /// Standard error of the slope.
    pub(super) slope_error: f64,
    /// By how much one unit of slope moves the trend's value: the mean age of the samples behind it.
    pub(super) age_secs: f64,
    /// Time in which the slope decays.
    pub(super) slope_lasts_secs: f64,
    /// The trend does not rise beyond this.
    pub(super) most: f64,
    /// Standard deviation of the level around the trend.
    pub(super) deviation: f64,
    /// Correlation time of that.
    pub(super) correlation_secs: f64,
    /// The barrier.
    pub(super) barrier: f64,
}

/// Tails beyond this many standard deviations are neglected.
const FAR: f64 = 7.0;

impl Fluctuation {
    /// From a line through samples whose weights decay with `tau_secs`. The slope is shrunk towards 0 by the ratio of the
    /// variance that slopes have, `usual_slope` squared, to that plus the variance that the fluctuation alone gives it.
    pub(super) fn around(self, line: &Line, tau_secs: f64, usual_slope: f64) -> Self {
        let Self {
            deviation,
            correlation_secs,
            ..
        } = self;
        // The slope of exponentially weighted least squares has the frequency response s / (1 + tau s)²; this is its
        // variance for an exponentially correlated level.
        let noise = deviation.powi(2) * correlation_secs
            / (2.0 * tau_secs * (tau_secs + correlation_secs).powi(2)).max(1e-9);
        let trust = usual_slope.powi(2) / (usual_slope.powi(2) + noise).max(1e-18);
        let slope = trust * line.slope;
        Self {
            trend: line.level + (slope - line.slope) * line.age_secs,
            slope,
            slope_error: (trust * noise).sqrt(),
            age_secs: line.age_secs,
            ..self
        }
    }

    /// Probability over time that the barrier was reached.
    pub(super) fn curve(&self) -> Curve {
        if self.level >= self.barrier {
            return Curve::of(|_| 1.0);
        }
        let mut mean = [0.0; TIMES_SECS.len()];
        for (z, weight) in NODES {
            self.add_given(z * self.slope_error, weight, &mut mean);
        }
        Curve::new(mean)
    }

    /// The trend after `secs` if its slope is greater by `more`.
    fn after(&self, secs: f64, more: f64) -> f64 {
        let lasts = self.slope_lasts_secs;
        let moved = (self.slope + more) * lasts * (1.0 - (-secs / lasts).exp());
        (self.trend + more * self.age_secs + moved).min(self.most.max(self.level))
    }

    /// Adds the curve for a slope that is greater by `more`.
    fn add_given(&self, more: f64, weight: f64, sum: &mut [f64; TIMES_SECS.len()]) {
        let tau = self.correlation_secs;
        let mut survives = 1.0;
        let (mut mean, mut before_secs) = (self.level, 0.0);
        for (p, t) in sum.iter_mut().zip(TIMES_SECS) {
            let piece_secs = t - before_secs;
            let next = self.after(t, more) + (self.level - self.trend) * (-t / tau).exp();
            let spread = (1.0 - (-2.0 * t / tau).exp()).sqrt();
            let deviations = (self.barrier - mean.max(next)) / (self.deviation * spread).max(1e-9);
            if deviations < FAR {
                let reaches = if deviations <= 0.0 {
                    1.0
                } else {
                    (2.0 * cdf(-deviations)).min(1.0)
                };
                survives *= (1.0 - reaches).powf((piece_secs / tau).max(0.3));
            }
            *p += weight * (1.0 - survives);
            mean = next;
            before_secs = t;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALM: Fluctuation = Fluctuation {
        level: 0.6,
        trend: 0.6,
        slope: 0.0,
        slope_error: 0.0002,
        age_secs: 15.0,
        slope_lasts_secs: 200.0,
        most: f64::INFINITY,
        deviation: 0.05,
        correlation_secs: 10.0,
        barrier: 1.0,
    };

    fn at(level: &Fluctuation) -> [f64; 4] {
        level.curve().horizons().as_array()
    }

    #[test]
    fn a_level_far_from_the_barrier_stays_away() {
        assert!(at(&CALM)[3] < 1e-2, "{:?}", at(&CALM));
    }

    #[test]
    fn a_rise_reaches_the_barrier_when_the_trend_does() {
        let rising = at(&Fluctuation { slope: 0.01, ..CALM });
        assert!(rising[1] < 0.2 && rising[2] > 0.9, "{rising:?}");
    }

    #[test]
    fn a_bound_on_the_trend_holds() {
        let rising = Fluctuation { slope: 0.01, ..CALM };
        let bounded = at(&Fluctuation { most: 0.65, ..rising });
        assert!(bounded[3] < 1e-2 && at(&rising)[3] > 0.99, "{bounded:?}");
    }

    #[test]
    fn noise_is_not_taken_for_a_slope() {
        let line = |slope| Line {
            level: 0.6,
            slope,
            slope_error: 0.0,
            variance_rate: 0.0,
            age_secs: 15.0,
        };
        let noisy = Fluctuation {
            deviation: 0.3,
            ..CALM
        }
        .around(&line(0.01), 15.0, 0.002);
        let calm = Fluctuation {
            deviation: 0.003,
            ..CALM
        }
        .around(&line(0.01), 15.0, 0.002);
        assert!(noisy.slope < 0.003 && calm.slope > 0.009, "{noisy:?} {calm:?}");
        // A smaller slope through the same mean gives a lower value now.
        assert!(noisy.trend < calm.trend && calm.trend <= 0.6);
    }

    /// Of a simulated fluctuation, the slope's variance is the one that the formula gives.
    #[test]
    fn the_variance_of_a_slope_is_that_of_the_formula() {
        use crate::numeric::trend::Trend;
        let (tau, correlation) = (15.0, 8.0_f64);
        let keep = (-1.0 / correlation).exp();
        let (mut seed, mut x, mut trend) = (7_u64, 0.0, Trend::new(tau));
        let mut uniform = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let (mut squares, mut count) = (0.0, 0.0);
        for second in 0..200_000 {
            let normal: f64 = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            x = keep * x + (1.0 - keep * keep).sqrt() * normal;
            trend.add(x, 1.0);
            if second > 200 {
                squares += trend.line().expect("many samples").slope.powi(2);
                count += 1.0;
            }
        }
        let formula = correlation / (2.0 * tau * (tau + correlation).powi(2));
        let ratio = squares / count / formula;
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }

    proptest! {
        #[test]
        fn closer_is_likelier(level in 0.0..0.9_f64, slope in -0.01..0.01_f64, more in 0.0..0.2_f64) {
            let near = Fluctuation { level: level + more, trend: level + more, slope: slope + more / 10.0, ..CALM };
            let far = Fluctuation { level, trend: level, slope, ..CALM };
            for (near, far) in at(&near).into_iter().zip(at(&far)) {
                prop_assert!(near >= far - 1e-6);
            }
        }
    }
}
