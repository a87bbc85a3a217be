//! Quantiles of known values, by two named rules.
//!
//! Both take values in ascending order and a quantile between 0 and 1. They differ where few values lie beyond the
//! quantile, so a figure always says which one it used.

/// Quantile `q` of ascending values, linear between ranks: numpy's default, and what most load generators print.
/// `None` for no values.
///
/// ```
/// assert_eq!(run_statistics::percentile::linear(&[1.0, 2.0, 3.0, 4.0], 0.25), Some(1.75));
/// ```
pub fn linear(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    let (low, high) = (sorted[below], sorted[above]);
    // Equal neighbours are returned unchanged, since two infinities would give NaN.
    if low == high {
        return Some(low);
    }
    let share = rank - below as f64;
    Some(low * (1.0 - share) + high * share)
}

/// Quantile `q` of ascending values by LoadGen's rule: the value at index ⌊n × q⌋, so always one of the values.
/// `None` for no values.
///
/// LoadGen takes quantiles below 1 only; 1 gives the largest value here. Its source: `results.cc`, where
/// `sample_latencies[sample_count * percentile]` truncates to an integer.
///
/// ```
/// assert_eq!(run_statistics::percentile::loadgen(&[1.0, 2.0, 3.0, 4.0], 0.25), Some(2.0));
/// assert_eq!(run_statistics::percentile::loadgen(&[1.0, 2.0, 3.0, 4.0], 0.99), Some(4.0));
/// ```
pub fn loadgen<T: Copy>(sorted: &[T], q: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    let index = (sorted.len() as f64 * q.clamp(0.0, 1.0)) as usize;
    Some(sorted[index.min(last)])
}

/// The values in ascending order, ready for [`linear`] or [`loadgen`].
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Middle value, linear between the two middle ones. `None` for no values.
///
/// ```
/// assert_eq!(run_statistics::percentile::median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
/// ```
pub fn median(values: &[f64]) -> Option<f64> {
    linear(&sorted(values), 0.5)
}
