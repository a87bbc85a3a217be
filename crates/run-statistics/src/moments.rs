//! Mean, variance and covariance.

/// Arithmetic mean. `None` for no values or for one that is not finite.
///
/// ```
/// assert_eq!(run_statistics::mean(&[1.0, 2.0, 6.0]), Some(3.0));
/// assert_eq!(run_statistics::mean(&[]), None);
/// ```
pub fn mean(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    if !all_finite(values) {
        return None;
    }
    // Sums of differences from the first value keep the digits of large constant values such as timestamps.
    Some(first + values.iter().map(|value| value - first).sum::<f64>() / values.len() as f64)
}

/// Sample variance (divides by n − 1). `None` for fewer than two values or for one that is not finite.
///
/// ```
/// assert_eq!(run_statistics::variance(&[1.0, 2.0, 3.0]), Some(1.0));
/// ```
pub fn variance(values: &[f64]) -> Option<f64> {
    covariance(values, values)
}

/// Sample standard deviation, the root of [`variance`].
///
/// ```
/// assert_eq!(run_statistics::standard_deviation(&[2.0, 4.0, 6.0]), Some(2.0));
/// ```
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    variance(values).map(f64::sqrt)
}

/// Sample covariance (divides by n − 1) of two series of one length. `None` for other lengths, fewer than two values,
/// or a value that is not finite.
///
/// ```
/// assert_eq!(run_statistics::covariance(&[1.0, 2.0, 3.0], &[6.0, 4.0, 2.0]), Some(-2.0));
/// ```
pub fn covariance(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.len() < 2 {
        return None;
    }
    let (mean_x, mean_y) = (mean(x)?, mean(y)?);
    let products: f64 = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    Some(products / (x.len() - 1) as f64)
}

/// Whether every value is a number and not infinite.
pub(crate) fn all_finite(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite())
}
