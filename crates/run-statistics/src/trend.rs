//! A monotonic trend in a series: Mann-Kendall's test with Hamed and Rao's correction, and Sen's slope.

use crate::autocorrelation::autocorrelation;
use crate::moments::all_finite;
use crate::normal;
use crate::percentile::median;
use crate::shift::sign;

/// Autocorrelations of ranks outside ± this / √n enter the correction: 5 % two-sided.
const SIGNIFICANT: f64 = 1.959_963_984_540_054;

/// A test for a trend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannKendall {
    /// Kendall's S: pairs that rise less pairs that fall.
    pub s: f64,
    /// Variance of S under no trend, with ties and autocorrelation taken into account.
    pub variance: f64,
    /// Factor by which autocorrelation changed the variance; 1 for none.
    pub correction: f64,
    /// Standard normal deviate with continuity correction; positive for a rise.
    pub z: f64,
    /// Two-sided p-value of no trend.
    pub p_value: f64,
}

/// Mann-Kendall's trend test with the variance correction of Hamed and Rao (Journal of Hydrology 204, 1998): from the
/// significant autocorrelations of the ranks of the detrended series. `None` for fewer than four values or one that is
/// not finite.
///
/// A correction that is not positive, possible for short series with negative autocorrelation, is replaced by 1.
///
/// ```
/// let rising = [1.0, 2.0, 1.5, 3.0, 3.5, 3.2, 4.0, 5.0, 4.8, 6.0];
/// let trend = run_statistics::mann_kendall(&rising).unwrap();
/// assert_eq!(trend.s, 39.0);
/// assert!(trend.z > 3.0);
/// ```
pub fn mann_kendall(values: &[f64]) -> Option<MannKendall> {
    let n = values.len();
    if n < 4 || !all_finite(values) {
        return None;
    }
    let mut s = 0.0;
    for i in 0..n {
        s += values[i + 1..]
            .iter()
            .map(|later| sign(later - values[i]))
            .sum::<f64>();
    }
    let correction = hamed_rao(values)?;
    let variance = variance_of_s(values) * correction;
    let z = if s == 0.0 || variance == 0.0 {
        0.0
    } else {
        (s - s.signum()) / variance.sqrt()
    };
    Some(MannKendall {
        s,
        variance,
        correction,
        z,
        p_value: normal::two_sided_p(z),
    })
}

/// Variance of S for independent values, with groups of equal values.
fn variance_of_s(values: &[f64]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let sorted = crate::percentile::sorted(values);
    let ties: f64 = sorted
        .chunk_by(|a, b| a == b)
        .map(|group| term(group.len() as f64))
        .sum();
    (term(values.len() as f64) - ties) / 18.0
}

fn hamed_rao(values: &[f64]) -> Option<f64> {
    let slope = sen_slope(values)?;
    let detrended: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(i, value)| value - slope * i as f64)
        .collect();
    let ranks = ranks(&detrended);
    let n = values.len() as f64;
    let mut sum = 0.0;
    for lag in 1..values.len() {
        let correlation = autocorrelation(&ranks, lag)?;
        if correlation.abs() > SIGNIFICANT / n.sqrt() {
            let i = lag as f64;
            sum += (n - i) * (n - i - 1.0) * (n - i - 2.0) * correlation;
        }
    }
    let factor = 1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum;
    Some(if factor > 0.0 { factor } else { 1.0 })
}

/// Ranks from 1, equal values sharing their mean rank.
pub(crate) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let shared = first as f64 + (group.len() + 1) as f64 / 2.0;
        for i in group {
            ranks[*i] = shared;
        }
        first += group.len();
    }
    ranks
}

/// Sen's slope: the median of the slopes between all pairs of values, per step of the index. `None` for fewer than
/// two values or one that is not finite. Quadratic in the length.
///
/// ```
/// // One wild value does not move it.
/// assert_eq!(run_statistics::sen_slope(&[0.0, 2.0, 4.0, 100.0, 8.0, 10.0]), Some(2.0));
/// ```
pub fn sen_slope(values: &[f64]) -> Option<f64> {
    if !all_finite(values) {
        return None;
    }
    let mut slopes = Vec::with_capacity(values.len() * values.len().saturating_sub(1) / 2);
    for (i, value) in values.iter().enumerate() {
        slopes.extend(
            values
                .iter()
                .enumerate()
                .skip(i + 1)
                .map(|(j, later)| (later - value) / (j - i) as f64),
        );
    }
    median(&slopes)
}
