//! A histogram with fixed bounds, counted as in Prometheus: a value belongs to the first bound not below it.

pub(crate) mod buckets;

/// Counts per bucket, not cumulative, so that an observation changes one of them.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    bounds: std::sync::Arc<[f64]>,
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// No observations yet; `bounds` are ascending, without `+Inf`.
    pub(crate) fn new(bounds: &[f64]) -> Self {
        Self {
            bounds: bounds.into(),
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Adds one value.
    pub(crate) fn observe(&mut self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Adds the same value `times` times.
    pub(crate) fn observe_many(&mut self, value: f64, times: u64) {
        // A scan is faster than a binary search here: most values fall into the first few buckets.
        let at = self
            .bounds
            .iter()
            .position(|&bound| value <= bound)
            .unwrap_or(self.bounds.len());
        self.counts[at] += times;
        self.sum += value * times as f64;
    }

    /// Upper bounds without `+Inf`.
    pub(crate) fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// Cumulative counts, one per bound and one more for `+Inf`.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().scan(0, |total, &count| {
            *total += count;
            Some(*total)
        })
    }

    /// Number of values.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of values.
    pub(crate) fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let mut h = Histogram::new(&[1.0, 2.0]);
        for v in [0.5, 1.0, 1.5, 2.0, 9.0] {
            h.observe(v);
        }
        assert_eq!(h.cumulative().collect::<Vec<_>>(), [2, 4, 5]);
        assert_eq!((h.count(), h.sum(), h.bounds().len()), (5, 14.0, 2));
    }
}
