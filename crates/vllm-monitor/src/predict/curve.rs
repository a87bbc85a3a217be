//! Probability that a failure has begun by each of a fixed set of times: one pass gives horizons and quantiles.

use crate::forecast::{HORIZONS_SECS, Horizons, TimeToFailure};

/// The times, in seconds. The horizons are among them.
pub(super) const TIMES_SECS: [f64; 18] = [
    1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 600.0, 1800.0,
    3600.0,
];

/// Probability at 300 s below which no time to failure is given.
const WORTH_A_TIME: f64 = 0.05;

/// A distribution function at [`TIMES_SECS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Curve([f64; TIMES_SECS.len()]);

impl Curve {
    /// From the probabilities at the times, made non-decreasing.
    pub(super) fn new(raw: [f64; TIMES_SECS.len()]) -> Self {
        let mut least: f64 = 0.0;
        Self(raw.map(|p| {
            if p.is_finite() {
                least = least.max(p.clamp(0.0, 1.0));
            }
            least
        }))
    }

    /// From a function of time.
    pub(super) fn of(probability: impl Fn(f64) -> f64) -> Self {
        Self::new(TIMES_SECS.map(probability))
    }

    /// At the horizons.
    pub(super) fn horizons(&self) -> Horizons {
        Horizons::new(HORIZONS_SECS.map(|secs| {
            let place = TIMES_SECS
                .iter()
                .position(|t| *t == secs)
                .expect("horizons are among the times");
            self.0[place]
        }))
    }

    /// Quantiles of the time, given that it happens within an hour; `None` if it is not to be expected within the
    /// longest horizon.
    pub(super) fn time_to_failure(&self) -> Option<TimeToFailure> {
        if self.horizons().as_array()[3] < WORTH_A_TIME {
            return None;
        }
        let most = self.0[TIMES_SECS.len() - 1];
        let quantile = |p: f64| {
            let want = p * most;
            let after = self.0.iter().position(|at| *at >= want)?;
            let (t1, p1) = (TIMES_SECS[after], self.0[after]);
            let (t0, p0) = after
                .checked_sub(1)
                .map_or((0.0, 0.0), |i| (TIMES_SECS[i], self.0[i]));
            Some(t0 + (t1 - t0) * ((want - p0) / (p1 - p0).max(1e-12)).clamp(0.0, 1.0))
        };
        Some(TimeToFailure {
            p10_secs: quantile(0.1)?,
            p50_secs: quantile(0.5)?,
            p90_secs: quantile(0.9),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_on_the_curve() {
        let uniform = Curve::of(|secs| (secs / 100.0).min(1.0));
        let when = uniform.time_to_failure().expect("it happens");
        assert!(
            (when.p10_secs - 10.0).abs() < 0.1 && (when.p50_secs - 50.0).abs() < 0.1,
            "{when:?}"
        );
        assert!((when.p90_secs.expect("within an hour") - 90.0).abs() < 0.1);
        assert_eq!(uniform.horizons().as_array(), [0.05, 0.3, 0.6, 1.0]);
        assert_eq!(Curve::of(|_| 0.01).time_to_failure(), None);
    }
}
