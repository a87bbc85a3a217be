//! Quantiles of positive numbers in constant memory: a histogram with geometric buckets and slow forgetting.

use serde::{Deserialize, Serialize};

const BUCKETS: usize = 96;
const SMALLEST: f64 = 1e-3;
const GROWTH: f64 = 1.2;

/// A histogram from 1 ms to about 9 hours if values are seconds; answers are the upper edges of buckets, so at most
/// 20 % too large and never too small (within the range).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogHistogram {
    counts: Vec<f64>,
    total: f64,
    /// Samples after which an old one counts 37 %.
    memory_samples: f64,
}

impl LogHistogram {
    /// `memory_samples` is how many samples it takes to forget one.
    pub fn new(memory_samples: f64) -> Self {
        Self {
            counts: vec![0.0; BUCKETS],
            total: 0.0,
            memory_samples,
        }
    }

    /// Adds one value.
    ///
    /// ```
    /// use vllm_monitor::numeric::quantile::LogHistogram;
    ///
    /// let mut gaps = LogHistogram::new(1e6);
    /// for _ in 0..999 {
    ///     gaps.add(0.1);
    /// }
    /// gaps.add(5.0);
    /// let median = gaps.quantile(0.5).unwrap();
    /// assert!((0.1..=0.12).contains(&median), "{median}");
    /// assert!(gaps.quantile(0.9999).unwrap() >= 5.0);
    /// ```
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() || value < 0.0 || self.counts.len() != BUCKETS {
            return;
        }
        self.counts[bucket(value)] += 1.0;
        self.total += 1.0;
        // Forgetting in one pass when the memory is full costs little and keeps the buckets' sum bounded.
        if self.total > 2.0 * self.memory_samples {
            for count in &mut self.counts {
                *count *= 0.5;
            }
            self.total = self.counts.iter().sum();
        }
    }

    /// Weight of the samples kept.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// Upper edge of the bucket that holds the quantile; `None` before the first sample.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        if self.total <= 0.0 {
            return None;
        }
        let mut left = p.clamp(0.0, 1.0) * self.total;
        for (i, count) in self.counts.iter().enumerate() {
            left -= count;
            if left <= 1e-9 && *count > 0.0 {
                return Some(upper_edge(i));
            }
        }
        self.counts.iter().rposition(|count| *count > 0.0).map(upper_edge)
    }
}

fn bucket(value: f64) -> usize {
    if value <= SMALLEST {
        return 0;
    }
    let place = ((value / SMALLEST).ln() / GROWTH.ln()).ceil();
    (place as usize).min(BUCKETS - 1)
}

fn upper_edge(bucket: usize) -> f64 {
    SMALLEST * GROWTH.powi(bucket as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_at_least_the_true_quantile_and_at_most_a_bucket_more() {
        let mut histogram = LogHistogram::new(1e6);
        let values: Vec<f64> = (1..=1000).map(|i| f64::from(i) * 0.01).collect();
        for value in &values {
            histogram.add(*value);
        }
        for p in [0.01, 0.1, 0.5, 0.9, 0.99, 0.999] {
            let exact = values[((p * 1000.0_f64).ceil() as usize).max(1) - 1];
            let got = histogram.quantile(p).expect("has samples");
            assert!(
                got >= exact * 0.999 && got <= exact * GROWTH * 1.001,
                "{p}: {got} for {exact}"
            );
        }
    }

    #[test]
    fn old_samples_are_forgotten() {
        let mut histogram = LogHistogram::new(100.0);
        for _ in 0..200 {
            histogram.add(10.0);
        }
        for _ in 0..2000 {
            histogram.add(0.1);
        }
        assert!(histogram.quantile(0.99).expect("has samples") < 0.2);
        assert!(histogram.total() <= 200.0);
    }
}
