//! LoadGen's early-stopping test, and a forecast of its outcome during a run.
//!
//! LoadGen's test: if the true share of queries over the limit were as large as the benchmark allows (1 % at
//! the 99th percentile), how likely would a run with as few of them be? A run passes if that probability is
//! below 1 %. A short run therefore passes only with fewer slow queries than the percentile alone would
//! allow, and with fewer than 459 queries (at the 99th percentile) it cannot pass at all.
//!
//! [`mlperf_loadgen::min_passing_queries`], which is LoadGen's code, gives the same numbers and is the
//! reference in the tests. They are computed independently here, so that a forecast is plain arithmetic
//! without a limited range.

/// LoadGen's confidence.
const CONFIDENCE: f64 = 0.99;

/// Upper bound of searches, larger than any run.
const MOST_QUERIES: u64 = 1 << 40;

/// The smallest number of queries that passes if `over` of them are over the limit. `percentile` is a
/// fraction.
///
/// # Panics
/// If the percentile is not between 0 and 1. It comes from LoadGen's settings, which are checked.
pub fn queries_needed(over: u64, percentile: f64) -> u64 {
    assert!(
        percentile > 0.0 && percentile < 1.0,
        "a percentile is a fraction between 0 and 1"
    );
    let passes = |within: u64| chance_of_at_most(over, over + within, percentile) < 1.0 - CONFIDENCE;
    let mut high = 1;
    while !passes(high) {
        high *= 2;
        if high > MOST_QUERIES {
            return u64::MAX;
        }
    }
    let mut low = high / 2;
    // `low` does not pass, `high` does.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if passes(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high + over
}

/// How many of `done` queries may be over the limit; `None` if there are too few queries to allow even zero.
pub fn over_allowed(done: u64, percentile: f64) -> Option<u64> {
    if queries_needed(0, percentile) > done {
        return None;
    }
    let (mut low, mut high) = (0, done + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if queries_needed(middle, percentile) <= done {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

/// For SingleStream and MultiStream: how many of the slowest queries LoadGen leaves out when it estimates the
/// percentile, or `None` if there are too few queries for an estimate (64 at the 90th percentile, 662 at the
/// 99th).
pub fn slowest_discarded(done: u64, percentile: f64) -> Option<u64> {
    // The estimate is the `t`-th slowest query, with the largest t that passes, at least 1.
    over_allowed(done, percentile)?.checked_sub(1)
}

/// Forecast of LoadGen's verdict on one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Forecast {
    /// The run passes if it stops now.
    Valid {
        /// How many more queries could have been over the limit.
        spare: u64,
    },
    /// The run will pass later.
    NeedsMore {
        /// Number of queries needed if all further ones stay within the limit.
        at_best: u64,
        /// Number of queries needed if the share over the limit stays the same.
        at_this_rate: u64,
    },
    /// The run does not pass if the share over the limit stays the same.
    CannotPass {
        /// Share of queries over the limit so far.
        over_share: f64,
        /// The remaining planned queries cannot compensate for those over the limit.
        for_certain: bool,
    },
}

/// Applies the test to `done` queries, `over` of them over the limit. `planned` is the total number of
/// queries in the run, if known.
pub fn forecast(done: u64, over: u64, percentile: f64, planned: Option<u64>) -> Forecast {
    let needed = queries_needed(over, percentile);
    if done >= needed {
        let allowed = over_allowed(done, percentile).unwrap_or(over);
        return Forecast::Valid {
            spare: allowed.saturating_sub(over),
        };
    }
    let over_share = if done == 0 { 0.0 } else { over as f64 / done as f64 };
    if planned.is_some_and(|planned| needed > planned) {
        return Forecast::CannotPass {
            over_share,
            for_certain: true,
        };
    }
    let passes = |more: u64| {
        let over_then = over + (over_share * more as f64).ceil() as u64;
        done + more >= queries_needed(over_then, percentile)
    };
    let end = planned.map_or(100_000_000, |planned| planned.saturating_sub(done));
    if over_share >= 1.0 - percentile || !passes(end) {
        return Forecast::CannotPass {
            over_share,
            for_certain: false,
        };
    }
    let (mut low, mut high) = (0, end);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if passes(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Forecast::NeedsMore {
        at_best: needed - done,
        at_this_rate: high,
    }
}

impl std::fmt::Display for Forecast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Valid { spare } => {
                write!(f, "valid if stopped now, with room for {spare} more slow queries")
            }
            Self::NeedsMore {
                at_best,
                at_this_rate,
            } if at_best == at_this_rate => {
                write!(f, "needs about {at_best} more queries")
            }
            Self::NeedsMore {
                at_best,
                at_this_rate,
            } => {
                write!(f, "needs about {at_this_rate} more queries, {at_best} at best")
            }
            Self::CannotPass {
                over_share,
                for_certain,
            } => {
                let when = if for_certain { "any more" } else { "at this rate" };
                let percent = over_share * 100.0;
                write!(
                    f,
                    "cannot pass {when}: {percent:.2} % of queries are over the limit"
                )
            }
        }
    }
}

/// The probability that at most `over` of `queries` are over the limit if each one is with the probability
/// that the percentile allows: the lower tail of a binomial distribution.
fn chance_of_at_most(over: u64, queries: u64, percentile: f64) -> f64 {
    let (n, q) = (queries as f64, 1.0 - percentile);
    if over as f64 > n * q {
        // Above the mean the terms below first rise, and the result is far from 1 % anyway.
        return 1.0;
    }
    // Sums from the largest term downwards, computing each by its ratio to the previous one.
    let mut term = probability(over, queries, percentile);
    let mut sum = term;
    let mut k = over as f64;
    while k > 0.0 {
        term *= k * percentile / ((n - k + 1.0) * q);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
        k -= 1.0;
    }
    sum
}

/// The binomial probability of exactly `k` out of `n`, each with probability `1 - percentile`.
///
/// Computed as a sum of small corrections instead of logarithms of factorials, which would cancel (C. Loader,
/// "Fast and accurate computation of binomial probabilities", 2000).
fn probability(k: u64, n: u64, percentile: f64) -> f64 {
    let (kf, nf) = (k as f64, n as f64);
    if k == 0 {
        return (nf * percentile.ln()).exp();
    }
    let rest = nf - kf;
    let exponent = stirling_error(nf)
        - stirling_error(kf)
        - stirling_error(rest)
        - deviance(kf, nf * (1.0 - percentile))
        - deviance(rest, nf * percentile);
    (nf / (std::f64::consts::TAU * kf * rest)).sqrt() * exponent.exp()
}

/// ln(n!) minus Stirling's formula.
fn stirling_error(n: f64) -> f64 {
    if n <= 15.0 {
        let factorial: f64 = (1..=n as u32).map(f64::from).product();
        return factorial.ln() - ((n + 0.5) * n.ln() - n + 0.5 * std::f64::consts::TAU.ln());
    }
    let square = n * n;
    let series = 1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square;
    (1.0 / 12.0 - (1.0 / 360.0 - series / square) / square) / n
}

/// x ln(x / mean) + mean − x, without the cancellation near the mean.
fn deviance(x: f64, mean: f64) -> f64 {
    if (x - mean).abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() + mean - x;
    }
    let v = (x - mean) / (x + mean);
    let mut sum = (x - mean) * v;
    let mut power = 2.0 * x * v;
    let mut odd = 1.0;
    loop {
        power *= v * v;
        odd += 2.0;
        let next = sum + power / odd;
        if next == sum {
            return sum;
        }
        sum = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floors_are_loadgens() {
        assert_eq!(queries_needed(0, 0.99), 459);
        assert_eq!(queries_needed(1, 0.90), 64);
        assert_eq!(queries_needed(1, 0.99), 662);
        assert_eq!(
            (slowest_discarded(63, 0.90), slowest_discarded(64, 0.90)),
            (None, Some(0))
        );
        assert_eq!(
            (slowest_discarded(661, 0.99), slowest_discarded(662, 0.99)),
            (None, Some(0))
        );
    }

    #[test]
    fn every_number_is_loadgens() {
        for percentile in [0.90, 0.97, 0.99, 0.999] {
            for over in (0..300).chain([777, 1000, 3000]) {
                let theirs =
                    mlperf_loadgen::min_passing_queries(over, percentile).map(|within| within + over);
                assert_eq!(
                    Some(queries_needed(over, percentile)),
                    theirs,
                    "{over} over at {percentile}"
                );
            }
        }
    }

    #[test]
    fn what_is_allowed_is_the_inverse_of_what_is_needed() {
        for done in [458, 459, 661, 662, 5000, 133_680] {
            match over_allowed(done, 0.99) {
                None => assert!(done < 459),
                Some(over) => {
                    assert!(queries_needed(over, 0.99) <= done);
                    assert!(queries_needed(over + 1, 0.99) > done);
                }
            }
        }
    }

    #[test]
    fn a_run_is_told_where_it_stands() {
        let certain = |over_share, for_certain| Forecast::CannotPass {
            over_share,
            for_certain,
        };
        let more = |n| Forecast::NeedsMore {
            at_best: n,
            at_this_rate: n,
        };
        assert_eq!(forecast(459, 0, 0.99, None), Forecast::Valid { spare: 0 });
        assert_eq!(forecast(700, 0, 0.99, None), Forecast::Valid { spare: 1 });
        assert_eq!(forecast(0, 0, 0.99, None), more(459));
        assert_eq!(forecast(458, 0, 0.99, Some(1000)), more(1));
        assert_eq!(forecast(300, 0, 0.99, Some(400)), certain(0.0, true));
        assert_eq!(forecast(1000, 20, 0.99, None), certain(0.02, false));
        // 1 in 400 is within 1 %, but not yet with sufficient confidence.
        let Forecast::NeedsMore {
            at_best,
            at_this_rate,
        } = forecast(400, 1, 0.99, Some(10_000))
        else {
            panic!("more queries pass")
        };
        assert_eq!(at_best, 662 - 400);
        assert!(at_this_rate > at_best);
        let over = 1 + (at_this_rate as f64 / 400.0).ceil() as u64;
        assert!(400 + at_this_rate >= queries_needed(over, 0.99));
    }

    #[test]
    fn large_runs_are_judged_at_once() {
        // A full data set at 200 queries per second: the allowed share approaches 1 %.
        let allowed = over_allowed(133_680, 0.99).unwrap();
        assert!((1200..1300).contains(&allowed), "{allowed}");
        assert!(queries_needed(100_000, 0.99) > 10_000_000);
    }

    #[test]
    fn a_forecast_reads_as_a_sentence() {
        let text = |done, over| forecast(done, over, 0.99, None).to_string();
        assert_eq!(
            text(700, 0),
            "valid if stopped now, with room for 1 more slow queries"
        );
        assert_eq!(text(0, 0), "needs about 459 more queries");
        assert_eq!(
            text(1000, 20),
            "cannot pass at this rate: 2.00 % of queries are over the limit"
        );
    }
}
