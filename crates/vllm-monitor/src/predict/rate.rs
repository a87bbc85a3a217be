//! The rate of a stream of requests and how it changes, from counts.

use crate::numeric::ewma::Ewma;
use crate::numeric::trend::Trend;

/// Estimates one stream's rate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RateEstimator {
    tau_secs: f64,
    mean: Ewma,
    trend: Trend,
}

/// A rate and its slope, with standard errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RateEstimate {
    /// Requests per second now.
    pub(super) rate: f64,
    /// Standard error of the rate.
    pub(super) rate_error: f64,
    /// Requests per second per second.
    pub(super) slope: f64,
    /// Standard error of the slope.
    pub(super) slope_error: f64,
    /// Seconds after which the slope has spent itself.
    pub(super) slope_lasts_secs: f64,
}

impl RateEstimator {
    /// `tau_secs` is the time constant.
    pub(super) fn new(tau_secs: f64) -> Self {
        Self {
            tau_secs,
            mean: Ewma::new(tau_secs),
            trend: Trend::new(tau_secs),
        }
    }

    /// The rate over the last `dt_secs`.
    pub(super) fn add(&mut self, rate: f64, dt_secs: f64) {
        self.mean.add(rate, dt_secs);
        self.trend.add(rate, dt_secs);
    }

    /// Seconds and samples observed.
    pub(super) fn observed(&self) -> (u64, f64) {
        (self.trend.samples(), self.trend.span_secs())
    }

    /// The estimate. The noise of the counts is that of a Poisson stream seen through the weights. The slope is shrunk
    /// according to that noise and to a prior: rates change by about `prior_per_sec` of their value per second.
    pub(super) fn estimate(&self, prior_per_sec: f64, slope_lasts_secs: f64) -> Option<RateEstimate> {
        let mean = self.mean.mean()?;
        let tau = self.tau_secs.min(self.trend.span_secs()).max(1.0);
        let noise = mean.max(0.5 / tau);
        let slope_variance = noise / (4.0 * tau.powi(3));
        let prior_variance = (prior_per_sec * noise).powi(2);
        let trust = prior_variance / (prior_variance + slope_variance);
        let slope = trust * self.trend.line().map_or(0.0, |line| line.slope);
        let slope_error = (trust * slope_variance).sqrt();
        Some(RateEstimate {
            // The mean lags behind a ramp by its time constant.
            rate: (mean + slope * tau).max(0.0),
            rate_error: (noise / (2.0 * tau) + (slope_error * tau).powi(2)).sqrt(),
            slope,
            slope_error,
            slope_lasts_secs,
        })
    }
}

impl RateEstimate {
    /// The rate after `secs`, if rate and slope are `z` standard errors above their estimates.
    pub(super) fn after(&self, secs: f64, z: f64) -> f64 {
        let slope = self.slope + z * self.slope_error;
        let lasts = self.slope_lasts_secs;
        let moved = slope * lasts * (1.0 - (-secs / lasts).exp());
        ((self.rate + z * self.rate_error).max(0.0) + moved).max(0.0)
    }
}

/// Gauss-Hermite nodes and weights for a standard normal variable, exact up to the ninth power.
pub(super) const NODES: [(f64, f64); 5] = [
    (-2.856_970_013_872_806, 0.011_257_411_327_721),
    (-1.355_626_179_974_266, 0.222_075_922_005_613),
    (0.0, 0.533_333_333_333_333),
    (1.355_626_179_974_266, 0.222_075_922_005_613),
    (2.856_970_013_872_806, 0.011_257_411_327_721),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_average_a_normal_error() {
        let moment = |power: i32| {
            NODES
                .iter()
                .map(|(z, weight)| weight * z.powi(power))
                .sum::<f64>()
        };
        for (power, value) in [(0, 1.0), (1, 0.0), (2, 1.0), (4, 3.0), (6, 15.0), (8, 105.0)] {
            assert!((moment(power) - value).abs() < 1e-9, "{power}: {}", moment(power));
        }
    }

    #[test]
    fn a_ramp_is_seen_without_lag() {
        let mut watch = RateEstimator::new(15.0);
        for second in 0..120 {
            watch.add(20.0 + 0.2 * f64::from(second), 1.0);
        }
        let estimate = watch.estimate(0.01, 200.0).expect("observed");
        assert!((estimate.rate - 43.8).abs() < 1.5, "{estimate:?}");
        assert!((estimate.slope - 0.2).abs() < 0.03, "{estimate:?}");
        assert!(estimate.after(30.0, 0.0) > 47.0 && estimate.after(30.0, 2.0) > estimate.after(30.0, 0.0));
    }

    #[test]
    fn noise_is_not_taken_for_a_slope() {
        let mut watch = RateEstimator::new(15.0);
        for second in 0..120 {
            watch.add(if second % 2 == 0 { 2.0 } else { 0.0 }, 1.0);
        }
        let estimate = watch.estimate(0.005, 200.0).expect("observed");
        assert!(estimate.slope.abs() < 1e-3, "{estimate:?}");
    }
}
