//! The mean of a series whose values depend on those before: batch means with an autoregression factor.

use crate::autocorrelation::autocorrelation;
use crate::estimate::Estimate;
use crate::moments::{all_finite, mean, variance};

/// Batches to begin with, and the fewest that are used.
const MOST_BATCHES: usize = 32;
const FEWEST_BATCHES: usize = 8;

/// Batches are merged while lag-1 autocorrelation × √batches is at least this.
const MERGE_FROM: f64 = 0.84;

/// Correlations between batches above this are treated as this, so that the factor stays below 9.
const LARGEST_CORRELATION: f64 = 0.8;

/// The mean of a dependent series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchMeans {
    /// The mean, its standard error and degrees of freedom (batches − 1).
    pub estimate: Estimate,
    /// How many independent values would know the mean as well: variance of the values over the squared error.
    pub effective_size: f64,
    /// Values used; the first few are left out so that batches are of one size.
    pub used: usize,
    /// Batches.
    pub batches: usize,
    /// Autocorrelation between neighbouring batches, corrected by 1/batches for its bias.
    pub batch_correlation: f64,
}

/// Estimates the mean of a series by non-overlapping batch means.
///
/// 32 consecutive batches, halved down to 8 while neighbouring batches correlate noticeably; the variance is then
/// enlarged by (1 + r) / (1 − r) for the correlation r that is left. After Tafazzoli and Wilson, "Skart: a
/// skewness- and autoregression-adjusted batch-means procedure" (IIE Transactions 43, 2011), without the skewness
/// part. Deterministic and linear in the length.
///
/// `None` for fewer than 16 values (two in each of 8 batches) or one that is not finite.
///
/// ```
/// let series: Vec<f64> = (0..320).map(|i| f64::from(i % 10)).collect();
/// let mean = run_statistics::batch_means(&series).unwrap();
/// assert_eq!(mean.estimate.value, 4.5);
/// assert_eq!((mean.batches, mean.used), (32, 320));
/// ```
pub fn batch_means(values: &[f64]) -> Option<BatchMeans> {
    let n = values.len();
    if !all_finite(values) {
        return None;
    }
    let mut batches = MOST_BATCHES;
    while batches > FEWEST_BATCHES && n < 2 * batches {
        batches /= 2;
    }
    if n < 2 * batches {
        return None;
    }
    loop {
        let means = means_of_batches(values, batches)?;
        let correlation = autocorrelation(&means, 1)? + 1.0 / batches as f64;
        if correlation * (batches as f64).sqrt() >= MERGE_FROM && batches > FEWEST_BATCHES {
            batches /= 2;
            continue;
        }
        let used = n - n % batches;
        let bounded = correlation.clamp(0.0, LARGEST_CORRELATION);
        let factor = (1.0 + bounded) / (1.0 - bounded);
        let squared_error = factor * variance(&means)? / batches as f64;
        let spread = variance(&values[n - used..])?;
        return Some(BatchMeans {
            estimate: Estimate {
                value: mean(&means)?,
                standard_error: squared_error.sqrt(),
                degrees_of_freedom: (batches - 1) as f64,
            },
            effective_size: if squared_error > 0.0 {
                spread / squared_error
            } else {
                used as f64
            },
            used,
            batches,
            batch_correlation: correlation,
        });
    }
}

/// Means of `batches` consecutive batches of one size; the first `n mod batches` values are left out. `None` for no
/// batches, fewer values than batches, or a value that is not finite.
///
/// ```
/// use run_statistics::means_of_batches;
/// assert_eq!(means_of_batches(&[9.0, 1.0, 3.0, 5.0, 7.0], 2), Some(vec![2.0, 6.0]));
/// ```
pub fn means_of_batches(values: &[f64], batches: usize) -> Option<Vec<f64>> {
    let size = values.len().checked_div(batches)?;
    if size == 0 {
        return None;
    }
    values[values.len() % batches..]
        .chunks_exact(size)
        .map(mean)
        .collect()
}
