//! How much successive values depend on each other.

use crate::moments::{all_finite, mean};

/// Correlation of a series with itself `lag` values later, with the usual estimator that divides by the variance of
/// the whole series. 0 for a constant series; `None` for a lag that leaves no pair or a value that is not finite.
///
/// ```
/// let alternating = [1.0, -1.0, 1.0, -1.0];
/// assert_eq!(run_statistics::autocorrelation(&alternating, 1), Some(-0.75));
/// ```
pub fn autocorrelation(values: &[f64], lag: usize) -> Option<f64> {
    if lag >= values.len() || !all_finite(values) {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(lagged(values, mean, lag, squares))
}

fn lagged(values: &[f64], mean: f64, lag: usize, squares: f64) -> f64 {
    if squares == 0.0 {
        return 0.0;
    }
    let products: f64 = values
        .iter()
        .zip(&values[lag..])
        .map(|(a, b)| (a - mean) * (b - mean))
        .sum();
    products / squares
}

/// Integrated correlation time in samples: τ = 1 + 2 Σ ρₖ. A series of n values knows its mean as well as n/τ
/// independent values would. At least 1; `None` for fewer than four values or one that is not finite.
///
/// The sum ends by Geyer's initial monotone sequence (Statistical Science 7, 1992): sums of neighbouring pairs of
/// autocorrelations are added while they are positive, each at most as large as the one before. For a first-order
/// autoregression τ is (1 + φ) / (1 − φ).
///
/// ```
/// // Three equal values after each other: τ is about 3.
/// let noise = [0.3, -1.2, 0.8, 0.1, -0.5, 1.4, -0.9, 0.6, -1.1, 0.5, 0.2, -0.4, 1.0, -0.7];
/// let slow: Vec<f64> = noise.iter().flat_map(|value| [*value; 3]).collect();
/// let tau = run_statistics::correlation_time(&slow).unwrap();
/// assert!(tau > 1.5 && tau < 4.0, "{tau}");
/// ```
pub fn correlation_time(values: &[f64]) -> Option<f64> {
    let n = values.len();
    if n < 4 || !all_finite(values) {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let mut sum = 0.0;
    let mut previous = f64::INFINITY;
    let mut lag = 0;
    while lag + 1 < n {
        let pair = lagged(values, mean, lag, squares) + lagged(values, mean, lag + 1, squares);
        if pair <= 0.0 {
            break;
        }
        previous = pair.min(previous);
        sum += previous;
        lag += 2;
    }
    // The pairs hold ρ₀ = 1 once and every other lag once: τ = 2 Σ − 1.
    Some((2.0 * sum - 1.0).max(1.0))
}

/// Von Neumann's ratio: the sum of squared successive differences over the sum of squared deviations from the mean.
/// Near 2 for independent values, near 0 for a slow series. `None` for fewer than two values, a constant series, or a
/// value that is not finite.
///
/// ```
/// let ratio = run_statistics::von_neumann_ratio(&[1.0, 2.0, 3.0, 4.0]).unwrap();
/// assert_eq!(ratio, 3.0 / 5.0);
/// ```
pub fn von_neumann_ratio(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let steps: f64 = values.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    (squares > 0.0).then_some(steps / squares)
}

/// [`von_neumann_ratio`] as a standard normal deviate under independence; negative for positive autocorrelation.
///
/// Mean 2 and variance 4 (n − 2) / (n² − 1), as for normal values (Young, Annals of Mathematical Statistics 12, 1941).
///
/// ```
/// let rising: Vec<f64> = (0..20).map(f64::from).collect();
/// assert!(run_statistics::von_neumann_z(&rising).unwrap() < -4.0);
/// ```
pub fn von_neumann_z(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    if n < 3.0 {
        return None;
    }
    let ratio = von_neumann_ratio(values)?;
    Some((ratio - 2.0) / (2.0 * ((n - 2.0) / (n * n - 1.0)).sqrt()))
}
