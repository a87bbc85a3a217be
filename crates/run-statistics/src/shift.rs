//! One change of level in a series: Pettitt's test.

use crate::moments::all_finite;

/// The most likely place of a change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelShift {
    /// Index of the first value after the change.
    pub at: usize,
    /// Pettitt's statistic K, the largest |U|.
    pub statistic: f64,
    /// Two-sided p-value of no change, by Pettitt's approximation.
    pub p_value: f64,
}

/// Pettitt's rank test for one change point (Applied Statistics 28, 1979), for independent values; feed it batch
/// means. The p-value is 2 exp(−6K² / (n³ + n²)), at most 1. `None` for fewer than four values or one that is not
/// finite.
///
/// ```
/// let series = [1.0, 1.2, 0.9, 1.1, 1.0, 0.8, 3.0, 3.1, 2.9, 3.2, 3.0, 2.8];
/// let shift = run_statistics::pettitt(&series).unwrap();
/// assert_eq!((shift.at, shift.statistic), (6, 36.0));
/// assert!(shift.p_value < 0.05);
/// ```
pub fn pettitt(values: &[f64]) -> Option<LevelShift> {
    let n = values.len();
    if n < 4 || !all_finite(values) {
        return None;
    }
    let mut u = 0.0;
    let mut best = (0.0, 1);
    for t in 0..n - 1 {
        // U(t+1) = U(t) + Σ sign(x(t) − x(j)) over all j.
        u += values.iter().map(|other| sign(values[t] - other)).sum::<f64>();
        if u.abs() > best.0 {
            best = (u.abs(), t + 1);
        }
    }
    let (statistic, at) = best;
    let n = n as f64;
    let p_value = 2.0 * (-6.0 * statistic * statistic / (n.powi(3) + n.powi(2))).exp();
    Some(LevelShift {
        at,
        statistic,
        p_value: p_value.min(1.0),
    })
}

/// −1, 0 or 1; unlike `f64::signum`, 0 for equal values.
pub(crate) fn sign(difference: f64) -> f64 {
    if difference > 0.0 {
        1.0
    } else if difference < 0.0 {
        -1.0
    } else {
        0.0
    }
}
