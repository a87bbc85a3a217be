//! A level that follows a moving equilibrium with noise: the probability of reaching a barrier.
//!
//! Requests arrive at a rate and stay for a while; the more there are, the longer each stays. The level (what they hold)
//! relaxes to an equilibrium within about one stay and fluctuates around it. Time is divided into intervals. In each,
//! the probability of reaching the barrier is twice the tail probability of a fluctuation of that size (reflection
//! principle), once per relaxation time, and intervals are treated as independent. The errors of the rate and of its
//! slope are common to all intervals, so the result is averaged over them (Gauss-Hermite quadrature).

use super::curve::{Curve, TIMES_SECS};
use super::rate::{NODES, RateEstimate};
use crate::numeric::normal::cdf;

/// A level and its dynamics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Balance {
    /// The level now.
    pub(super) level: f64,
    /// What one request adds to the level.
    pub(super) per_request: f64,
    /// Arrival rate.
    pub(super) arrivals: RateEstimate,
    /// Stay of a request without others, in seconds.
    pub(super) lone_stay_secs: f64,
    /// By how much each other request lengthens a stay, in seconds.
    pub(super) crowding_secs: f64,
    /// Present stay of a request in seconds: the relaxation time.
    pub(super) stay_secs: f64,
    /// Most requests that can be there at once.
    pub(super) most_requests: f64,
    /// Variance of the level around a balance, per unit of balance.
    pub(super) variance_per_balance: f64,
    /// The barrier.
    pub(super) barrier: f64,
}

/// Tails beyond this many standard deviations are neglected.
const FAR: f64 = 7.0;

impl Balance {
    /// Where the level comes to rest if requests come at this rate.
    pub(super) fn at_rate(&self, rate: f64) -> f64 {
        let free = 1.0 - rate * self.crowding_secs;
        // Beyond this rate there is no equilibrium: the batch fills up.
        let requests = if free > 0.02 {
            rate.max(0.0) * self.lone_stay_secs / free
        } else {
            f64::INFINITY
        };
        (requests.min(self.most_requests) * self.per_request).min(4.0 * self.barrier)
    }

    /// Probability over time that the barrier was reached.
    pub(super) fn curve(&self) -> Curve {
        if self.level >= self.barrier {
            return Curve::of(|_| 1.0);
        }
        let mut mean = [0.0; TIMES_SECS.len()];
        for (z, weight) in NODES {
            self.add_given(z, weight, &mut mean);
        }
        Curve::new(mean)
    }

    /// Adds the curve for a rate and slope that are `z` standard errors above their estimates.
    fn add_given(&self, z: f64, weight: f64, sum: &mut [f64; TIMES_SECS.len()]) {
        let tau = self.stay_secs.max(0.5);
        let mut survives = 1.0;
        let (mut mean, mut before_secs) = (self.level, 0.0);
        for (p, t) in sum.iter_mut().zip(TIMES_SECS) {
            let piece_secs = t - before_secs;
            // The level relaxes exponentially to the equilibrium at the middle of the interval.
            let rate = self.arrivals.after(before_secs + piece_secs / 2.0, z);
            let goal = self.at_rate(rate);
            // It cannot rise faster than requests bring tokens: each adds at most about twice its mean context.
            let most = mean + 2.0 * self.per_request * rate * piece_secs;
            let next = (goal + (mean - goal) * (-piece_secs / tau).exp()).min(most);
            let spread = 1.0 - (-2.0 * t / tau).exp();
            let variance = self.variance_per_balance * mean.max(next).max(1e-6) * spread;
            let deviations = (self.barrier - mean.max(next)) / variance.sqrt().max(1e-9);
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

    const fn rate(rate: f64, slope: f64) -> RateEstimate {
        RateEstimate {
            rate,
            rate_error: 0.2,
            slope,
            slope_error: 0.0,
            slope_lasts_secs: 120.0,
        }
    }

    const CALM: Balance = Balance {
        level: 0.4,
        per_request: 0.01,
        arrivals: rate(8.0, 0.0),
        lone_stay_secs: 5.0,
        crowding_secs: 0.0,
        stay_secs: 5.0,
        most_requests: f64::INFINITY,
        variance_per_balance: 0.01,
        barrier: 1.0,
    };

    fn at(balance: &Balance) -> [f64; 4] {
        balance.curve().horizons().as_array()
    }

    #[test]
    fn a_level_far_from_the_barrier_stays_away() {
        assert!(at(&CALM)[3] < 1e-4, "{:?}", at(&CALM));
    }

    #[test]
    fn a_rising_rate_is_predicted_before_the_level_shows_it() {
        let rising = at(&Balance {
            arrivals: rate(8.0, 0.4),
            ..CALM
        });
        assert!(
            rising[0] < 0.01 && rising[1] > 0.05 && rising[2] > 0.99,
            "{rising:?}"
        );
    }

    #[test]
    fn places_in_the_batch_bound_it() {
        let bounded = at(&Balance {
            arrivals: rate(8.0, 0.4),
            most_requests: 50.0,
            ..CALM
        });
        assert!(bounded[3] < 1e-2, "{bounded:?}");
    }

    #[test]
    fn a_large_cache_fills_no_faster_than_requests_bring_tokens() {
        // The balance is beyond the barrier, and it would take 2,000 s to bring that much.
        let large = Balance {
            level: 0.0,
            per_request: 5e-5,
            crowding_secs: 1.0,
            arrivals: rate(5.0, 0.0),
            ..CALM
        };
        assert!(
            large.at_rate(5.0) > 1.0 && at(&large)[3] < 1e-3,
            "{:?}",
            at(&large)
        );
    }

    #[test]
    fn crowding_makes_the_balance_rise_faster_than_the_rate() {
        let crowded = Balance {
            lone_stay_secs: 3.0,
            crowding_secs: 0.05,
            ..CALM
        };
        assert!((crowded.at_rate(8.0) - 0.4).abs() < 1e-9);
        assert!(crowded.at_rate(12.0) > 1.5 * 0.4 * 1.2);
        assert!(crowded.at_rate(25.0) >= 4.0, "there is no balance any more");
    }

    proptest! {
        #[test]
        fn closer_is_likelier(level in 0.0..0.9_f64, per_sec in 0.0..15.0_f64, more in 0.0..0.2_f64) {
            let near = Balance { level: level + more * 0.4, arrivals: rate(per_sec + more * 10.0, 0.0), ..CALM };
            let far = Balance { level, arrivals: rate(per_sec, 0.0), ..CALM };
            for (near, far) in at(&near).into_iter().zip(at(&far)) {
                prop_assert!(near >= far - 1e-6);
            }
        }
    }
}
