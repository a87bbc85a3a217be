//! What is said about a set of values: count, mean, spread and the percentile grid.

use serde::Serialize;
use serde_json::{Map, Value};
use vllm_metrics::derive::quantile;

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

/// Statistics of values; what cannot be said is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Finite values.
    pub count: usize,
    /// Values that were not finite and are in none of the figures.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_finite: usize,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Sample standard deviation (n − 1); null for fewer than two values.
    pub std: Option<f64>,
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Half lie below it.
    pub median: Option<f64>,
    /// Linear between ranks.
    pub percentiles: Map<String, Value>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Stats {
    /// Statistics of these values.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let not_finite = values.len() - sorted.len();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        // Around the first value, so that large constant values (times, addresses) keep their digits.
        let origin = sorted.first().copied().unwrap_or(0.0);
        let mean = (n > 0).then(|| origin + sorted.iter().map(|v| v - origin).sum::<f64>() / n as f64);
        let std = mean.filter(|_| n > 1).map(|mean| {
            let squares: f64 = sorted.iter().map(|v| (v - mean) * (v - mean)).sum();
            (squares / (n - 1) as f64).sqrt()
        });
        Self {
            count: n,
            not_finite,
            mean,
            std,
            min: sorted.first().copied(),
            max: sorted.last().copied(),
            median: quantile::of_sorted(&sorted, 0.5),
            percentiles: PERCENTILES
                .iter()
                .map(|(q, name)| ((*name).to_owned(), number(quantile::of_sorted(&sorted, *q))))
                .collect(),
        }
    }
}

/// A JSON number, or null for none and for what JSON cannot say.
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
        let stats = Stats::of(&[1.0, 2.0, 3.0, 4.0, f64::NAN]);
        assert_eq!((stats.count, stats.not_finite), (4, 1));
        assert_eq!((stats.mean, stats.median), (Some(2.5), Some(2.5)));
        assert!((stats.std.unwrap() - 1.290_994_448_735_805_6).abs() < 1e-12);
        assert_eq!((stats.min, stats.max), (Some(1.0), Some(4.0)));
    }

    #[test]
    fn one_value_has_no_spread_and_none_has_nothing() {
        let text = serde_json::to_string(&Stats::of(&[5.0])).unwrap();
        assert!(text.contains(r#""std":null"#), "{text}");
        let text = serde_json::to_string(&Stats::of(&[])).unwrap();
        assert!(
            text.contains(r#""mean":null"#) && text.contains(r#""p99":null"#),
            "{text}"
        );
    }
}
