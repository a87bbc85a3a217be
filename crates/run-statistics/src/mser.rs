//! Where a run's start-up ends: MSER-5.

use crate::moments::{all_finite, mean};

/// Values per batch.
pub const MSER_BATCH: usize = 5;

/// How many values to leave out at the start of a series so that the mean of the rest is best known.
///
/// White's marginal standard error rule on means of 5 values (White, Cobb and Spratt, "A comparison of five
/// steady-state truncation heuristics for simulation", WSC 2000): the cut minimises Σ(yⱼ − ȳ)² / m² over the m batches
/// left, at most half of all. The result is a multiple of 5; `None` for fewer than four batches or a value that is not
/// finite.
///
/// It works for the start only. From both ends it also cuts a degraded second half and calls the rest steady.
///
/// ```
/// let mut series = vec![0.0; 20];
/// series.extend((0..100).map(|i| 10.0 + f64::from(i % 3)));
/// assert_eq!(run_statistics::mser5(&series), Some(20));
/// ```
pub fn mser5(values: &[f64]) -> Option<usize> {
    if !all_finite(values) {
        return None;
    }
    let batches: Vec<f64> = values.chunks_exact(MSER_BATCH).map(mean).collect::<Option<_>>()?;
    best_cut(&batches).map(|batch| batch * MSER_BATCH)
}

/// The same rule on values that are batch means already: how many of them to leave out. `None` for fewer than four.
///
/// ```
/// assert_eq!(run_statistics::mser_cut(&[0.0, 5.0, 5.1, 4.9, 5.0, 5.1]), Some(1));
/// ```
pub fn mser_cut(batches: &[f64]) -> Option<usize> {
    if !all_finite(batches) {
        return None;
    }
    best_cut(batches)
}

fn best_cut(batches: &[f64]) -> Option<usize> {
    let n = batches.len();
    if n < 4 {
        return None;
    }
    // Sums from the end, around the overall mean so that they keep their digits.
    let centre = mean(batches)?;
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut best = (f64::INFINITY, 0);
    for cut in (0..n).rev() {
        let value = batches[cut] - centre;
        sum += value;
        squares += value * value;
        let left = (n - cut) as f64;
        let statistic = (squares - sum * sum / left).max(0.0) / (left * left);
        // Of equal cuts the earliest wins.
        if cut <= n / 2 && statistic <= best.0 {
            best = (statistic, cut);
        }
    }
    Some(best.1)
}
