//! Quantiles: exact ones of known values, and estimates from histogram buckets.

/// Quantile `q` of sorted values, linear between ranks (numpy's default). `None` for no values.
pub fn of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = q.clamp(0.0, 1.0) * last as f64;
    let below = rank.floor() as usize;
    let above = rank.ceil() as usize;
    let share = rank - below as f64;
    // Equal neighbours are returned as they are: infinities would give NaN otherwise.
    if sorted[below] == sorted[above] {
        return Some(sorted[below]);
    }
    Some(sorted[below] * (1.0 - share) + sorted[above] * share)
}

/// Quantile `q` by linear interpolation inside the bucket that holds it, as Prometheus' `histogram_quantile` does.
///
/// `bounds` are upper bounds, ascending, the last one `+Inf`; `counts` are observations per bucket (not cumulative).
/// A quantile that falls into the last bucket is the highest finite bound. `None` without observations.
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
}
