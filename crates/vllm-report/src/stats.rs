//! Statistics of a set of values: count, mean, spread and the percentile grid.

use serde::Serialize;
use serde_json::{Map, Value};
use vllm_metrics::derive::{align, quantile};

/// The percentiles of every summary.
pub const PERCENTILES: &[(f64, &str)] = &[
    (0.01, "p1"),
    (0.05, "p5"),
    (0.10, "p10"),
    (0.25, "p25"),
    (0.50, "p50"),
    (0.75, "p75"),
    (0.90, "p90"),
    (0.95, "p95"),
    (0.97, "p97"),
    (0.99, "p99"),
    (0.999, "p99.9"),
];

/// How `mean`, `std` and percentiles of each kind of figure are defined; part of every summary.
pub(crate) const DEFINITIONS: &[(&str, &str)] = &[
    (
        "gauges",
        "mean, std and percentiles weighted by time: each sample stands for half the way to its neighbours, gaps count \
         for nothing; a percentile is the value that the metric was at or below for that share of the time",
    ),
    (
        "counters",
        "mean_per_second = increase / time from first to last sample, gaps included; per_second weighs each interval \
         by its length, intervals shorter than three quarters of the usual one are joined",
    ),
    (
        "histograms",
        "count, sum and mean are exact, gaps included; whatever is estimated from buckets ends in _estimate",
    ),
    (
        "requests",
        "over completed requests, all of equal weight; percentiles by LoadGen's rule: the value at place n * p, counted \
         from 0 and rounded down",
    ),
    (
        "aggregate",
        "all series of the metric as one, by what the metric is: amounts are added up, levels averaged where every \
         series has a value, times, states and info metrics are not combined",
    ),
];

/// Statistics of values; undefined figures are null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Finite values.
    pub count: usize,
    /// Values that were not finite and are excluded from all figures.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_finite: usize,
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation: of a sample (n − 1) for values of equal weight, null for fewer than two.
    pub std: Option<f64>,
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Half of the weight is at or below it.
    pub median: Option<f64>,
    /// By the rule of the constructor.
    pub percentiles: Map<String, Value>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Stats {
    /// Statistics of single observations, such as the latencies of requests. Percentiles follow LoadGen's rule.
    pub fn of_observations(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        // Around the first value, so that large constant values (times, addresses) keep their digits.
        let origin = sorted.first().copied().unwrap_or(0.0);
        let mean = (n > 0).then(|| origin + sorted.iter().map(|v| v - origin).sum::<f64>() / n as f64);
        let std = mean.filter(|_| n > 1).map(|mean| {
            let squares: f64 = sorted.iter().map(|v| (v - mean) * (v - mean)).sum();
            (squares / (n - 1) as f64).sqrt()
        });
        let quantile = |q| quantile::of_sorted_as_loadgen(&sorted, q);
        Self {
            count: n,
            not_finite: values.len() - n,
            mean,
            std,
            min: sorted.first().copied(),
            max: sorted.last().copied(),
            median: quantile(0.5),
            percentiles: percentiles(quantile),
        }
    }

    /// Statistics of weighted values: samples of a gauge weighted by the time they cover, rates by the length
    /// of their interval. If one slice is longer than the other, the excess is ignored.
    pub fn weighted(values: &[f64], weights: &[f64]) -> Self {
        let mut sorted: Vec<(f64, f64)> = values
            .iter()
            .copied()
            .zip(weights.iter().copied())
            .filter(|(v, w)| v.is_finite() && w.is_finite())
            .collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let n = sorted.len();
        if n > 0 && sorted.iter().all(|(_, w)| *w <= 0.0) {
            sorted.iter_mut().for_each(|(_, w)| *w = 1.0);
        }
        let origin = sorted.first().map_or(0.0, |(v, _)| *v);
        let total: f64 = sorted.iter().map(|(_, w)| w).sum();
        let mean =
            (n > 0).then(|| origin + sorted.iter().map(|(v, w)| (v - origin) * w).sum::<f64>() / total);
        let std = mean.filter(|_| n > 1).map(|mean| {
            let squares: f64 = sorted.iter().map(|(v, w)| (v - mean) * (v - mean) * w).sum();
            (squares / total).sqrt()
        });
        let quantile = |q| quantile::of_weighted(&sorted, q);
        Self {
            count: n,
            not_finite: values.len() - n,
            mean,
            std,
            min: sorted.first().map(|(v, _)| *v),
            max: sorted.last().map(|(v, _)| *v),
            median: quantile(0.5),
            percentiles: percentiles(quantile),
        }
    }

    /// Statistics of a gauge's samples, weighted by time; distances longer than `longest_step_ns` are gaps.
    pub fn of_gauge(timestamps_ns: &[i64], values: &[f64], longest_step_ns: i64) -> Self {
        // A sample that is not a number is ignored: its neighbours do not cover its time.
        Self::weighted(values, &held_secs(timestamps_ns, values, longest_step_ns))
    }
}

/// Weights of a gauge's samples: zero for those that are not finite, and a neighbour covers at most half of
/// the distance to them.
fn held_secs(timestamps_ns: &[i64], values: &[f64], longest_step_ns: i64) -> Vec<f64> {
    align::held_secs(timestamps_ns, longest_step_ns)
        .into_iter()
        .zip(values)
        .map(|(weight, value)| if value.is_finite() { weight } else { 0.0 })
        .collect()
}

fn percentiles(quantile: impl Fn(f64) -> Option<f64>) -> Map<String, Value> {
    PERCENTILES
        .iter()
        .map(|(q, name)| ((*name).to_owned(), number(quantile(*q))))
        .collect()
}

/// A JSON number, or null for `None` and for values that JSON cannot represent.
pub(crate) fn number(value: Option<f64>) -> Value {
    value
        .and_then(serde_json::Number::from_f64)
        .map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let stats = Stats::of_observations(&[1.0, 2.0, 3.0, 4.0, f64::NAN]);
        assert_eq!((stats.count, stats.not_finite), (4, 1));
        // LoadGen's rule: the value at index 4 * 0.5.
        assert_eq!((stats.mean, stats.median), (Some(2.5), Some(3.0)));
        assert!((stats.std.unwrap() - 1.290_994_448_735_805_6).abs() < 1e-12);
        assert_eq!((stats.min, stats.max), (Some(1.0), Some(4.0)));
    }

    #[test]
    fn one_value_has_no_spread_and_none_has_nothing() {
        let text = serde_json::to_string(&Stats::of_observations(&[5.0])).unwrap();
        assert!(text.contains(r#""std":null"#), "{text}");
        let text = serde_json::to_string(&Stats::weighted(&[], &[])).unwrap();
        assert!(
            text.contains(r#""mean":null"#) && text.contains(r#""p99":null"#),
            "{text}"
        );
        assert_eq!(Stats::of_gauge(&[7], &[3.0], i64::MAX).mean, Some(3.0));
    }

    /// Three scrapes of 0 within ten milliseconds at the start and two at the end must not count as five seconds.
    #[test]
    fn edge_scrapes_weigh_what_they_last() {
        const S: i64 = 1_000_000_000;
        let mut times = vec![0, S / 200];
        let mut values = vec![0.0, 0.0];
        for i in 0..11 {
            times.push(S / 100 + i * S);
            values.push(100.0);
        }
        times.extend([10 * S + S / 50, 10 * S + S / 25]);
        values.extend([0.0, 0.0]);
        let stats = Stats::of_gauge(&times, &values, 5 * S / 2);
        assert!((stats.mean.unwrap() - 100.0).abs() < 0.5, "{:?}", stats.mean);
        assert_eq!(stats.percentiles["p5"], 100.0);
        assert_eq!((stats.min, stats.max), (Some(0.0), Some(100.0)));
    }

    #[test]
    fn the_weighted_mean_of_rates_is_increase_over_time() {
        // Intervals of 22 ms and 10 s: 0 and 5000 tokens/s.
        let stats = Stats::weighted(&[0.0, 5000.0], &[0.022, 10.0]);
        assert!((stats.mean.unwrap() - 50_000.0 / 10.022).abs() < 1e-9);
        assert_eq!(stats.median, Some(5000.0));
    }
}
