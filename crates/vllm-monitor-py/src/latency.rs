//! Every single latency in one histogram: counts are exact, values are kept to three digits.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Shortest and longest latency that is told apart: 1 µs and one hour. Others count as the nearest of the two.
const RANGE_US: (u64, u64) = (1, 3_600_000_000);

/// Bounds of the buckets on the Prometheus page, in seconds.
pub(crate) const BOUNDS_SECS: [f64; 19] = [
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5,
    10.0, 60.0,
];

/// Latencies of one kind since the start.
#[derive(Debug, Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
    sum_secs: f64,
    refused: u64,
}

/// Quantiles in seconds; absent before the first latency.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LatencySummary {
    /// Latencies counted.
    pub count: u64,
    /// Their sum.
    pub sum_seconds: f64,
    /// Median.
    pub p50_seconds: Option<f64>,
    /// 90th percentile.
    pub p90_seconds: Option<f64>,
    /// 99th percentile.
    pub p99_seconds: Option<f64>,
    /// Longest.
    pub max_seconds: Option<f64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(RANGE_US.0, RANGE_US.1, 3)
                .expect("the bounds are valid: 1 is below half of an hour in µs"),
            sum_secs: 0.0,
            refused: 0,
        }
    }
}

impl Latencies {
    /// Adds one latency. Negative ones and those that are no number are counted as refused.
    pub fn add(&mut self, secs: f64) {
        if !(secs.is_finite() && secs >= 0.0) {
            self.refused += 1;
            return;
        }
        self.sum_secs += secs;
        // The range of the cast is bounded by the range of the histogram.
        let us = (secs * 1e6).round().min(RANGE_US.1 as f64) as u64;
        self.histogram.saturating_record(us.max(RANGE_US.0));
    }

    /// Adds those of another engine.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("all have the same bounds");
        self.sum_secs += other.sum_secs;
        self.refused += other.refused;
    }

    /// Latencies counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Their sum, in seconds.
    pub fn sum_secs(&self) -> f64 {
        self.sum_secs
    }

    /// Values that were no latency.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many were at most this long.
    pub(crate) fn at_most(&self, secs: f64) -> u64 {
        let us = (secs * 1e6).round() as u64;
        self.histogram.count_between(0, us)
    }

    /// Count, sum and quantiles.
    pub fn summary(&self) -> LatencySummary {
        let any = self.count() > 0;
        let at = |q: f64| any.then(|| self.histogram.value_at_quantile(q) as f64 / 1e6);
        LatencySummary {
            count: self.count(),
            sum_seconds: self.sum_secs,
            p50_seconds: at(0.5),
            p90_seconds: at(0.9),
            p99_seconds: at(0.99),
            max_seconds: at(1.0),
        }
    }

    /// Every bucket that holds a latency: its upper end in seconds, and how many lie in it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.histogram
            .iter_recorded()
            .map(|bucket| (bucket.value_iterated_to() as f64 / 1e6, bucket.count_at_value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_and_values_have_three_digits() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary(), LatencySummary::default());
        for ms in 1..=1000 {
            latencies.add(f64::from(ms) / 1000.0);
        }
        latencies.add(f64::NAN);
        latencies.add(-1.0);
        let summary = latencies.summary();
        assert_eq!((summary.count, latencies.refused()), (1000, 2));
        assert!((summary.sum_seconds - 500.5).abs() < 1e-6);
        for (seen, expected) in [
            (summary.p50_seconds, 0.5),
            (summary.p99_seconds, 0.99),
            (summary.max_seconds, 1.0),
        ] {
            let seen = seen.expect("there are latencies");
            assert!((seen - expected).abs() / expected < 2e-3, "{seen} {expected}");
        }
        assert_eq!(latencies.at_most(0.01), 10);
        assert_eq!(latencies.buckets().map(|(_, count)| count).sum::<u64>(), 1000);
    }
}
