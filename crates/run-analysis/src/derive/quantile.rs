//! Quantiles: exact ones of known values, and estimates from histogram buckets.

/// The quantiles of known values: linear between ranks, and by LoadGen's rule.
pub use run_statistics::percentile::{linear as of_sorted, loadgen as of_sorted_as_loadgen};

/// Quantile `q` of sorted values with weights: the smallest value that, together with all below it, has at
/// least the share `q` of the weight. `None` without values or weight.
pub fn of_weighted(sorted: &[(f64, f64)], q: f64) -> Option<f64> {
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    if total <= 0.0 {
        return None;
    }
    // Sums of weights differ in their last digits depending on the order of addition.
    let wanted = q.clamp(0.0, 1.0) * total * (1.0 - 1e-12);
    let mut below = 0.0;
    let found = sorted
        .iter()
        .filter(|(_, weight)| *weight > 0.0)
        .find(|(_, weight)| {
            below += weight;
            below >= wanted
        });
    found.or(sorted.last()).map(|(value, _)| *value)
}

/// Quantile `q` by linear interpolation inside its bucket, as in Prometheus' `histogram_quantile`.
///
/// `bounds` are upper bounds, ascending, the last one `+Inf`; `counts` are observations per bucket (not
/// cumulative). A quantile in the last bucket is the highest finite bound. `None` without observations.
pub fn linear(bounds: &[f64], counts: &[f64], q: f64) -> Option<f64> {
    let total: f64 = counts.iter().sum();
    if total <= 0.0 || bounds.len() != counts.len() {
        return None;
    }
    let rank = q.clamp(0.0, 1.0) * total;
    let mut below = 0.0;
    for (i, &count) in counts.iter().enumerate() {
        if count > 0.0 && below + count >= rank {
            let low = lower_bound(bounds, i);
            let high = bounds[i];
            if high.is_infinite() {
                return Some(low);
            }
            return Some(low + (high - low) * ((rank - below) / count).clamp(0.0, 1.0));
        }
        below += count;
    }
    bounds.iter().rev().find(|b| b.is_finite()).copied()
}

/// Lower bound of bucket `i`: the bound before it, or 0 for a first bucket of positive values.
pub fn lower_bound(bounds: &[f64], i: usize) -> f64 {
    match i.checked_sub(1) {
        Some(before) => bounds[before],
        None => bounds[0].min(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_quantiles_follow_numpy() {
        let v = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(of_sorted(&v, 0.5), Some(2.5));
        assert_eq!(of_sorted(&v, 0.25), Some(1.75));
        assert_eq!(of_sorted(&v, 1.0), Some(4.0));
        assert_eq!(of_sorted(&[], 0.5), None);
    }

    #[test]
    fn linear_interpolates_inside_the_bucket() {
        let bounds = [1.0, 2.0, f64::INFINITY];
        assert_eq!(linear(&bounds, &[0.0, 10.0, 0.0], 0.5), Some(1.5));
        assert_eq!(linear(&bounds, &[10.0, 0.0, 0.0], 0.5), Some(0.5));
        assert_eq!(linear(&bounds, &[0.0, 0.0, 3.0], 0.5), Some(2.0));
        assert_eq!(linear(&bounds, &[0.0, 0.0, 0.0], 0.5), None);
    }

    #[test]
    fn ranks_follow_loadgen() {
        let v: Vec<f64> = (0..64).map(f64::from).collect();
        assert_eq!(of_sorted_as_loadgen(&v, 0.99), Some(63.0));
        assert_eq!(of_sorted_as_loadgen(&v, 0.5), Some(32.0));
        assert_eq!(of_sorted_as_loadgen(&[5.0], 1.0), Some(5.0));
        assert_eq!(of_sorted_as_loadgen::<f64>(&[], 0.5), None);
    }

    #[test]
    fn weights_say_how_long_a_value_was_held() {
        let v = [(0.0, 0.01), (1.0, 9.0), (5.0, 1.0)];
        assert_eq!(of_weighted(&v, 0.5), Some(1.0));
        assert_eq!(of_weighted(&v, 0.95), Some(5.0));
        assert_eq!(
            of_weighted(&[(1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (4.0, 1.0)], 0.5),
            Some(2.0)
        );
        assert_eq!(of_weighted(&[(1.0, 0.0)], 0.5), None);
    }
}
