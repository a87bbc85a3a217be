//! An interval for any figure over groups, by resampling whole groups. For evaluations, not for reports of runs.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::percentile::{linear, sorted};

/// A figure with its percentile interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapInterval {
    /// The figure over all groups as they are.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Resamples for which the figure was defined.
    pub resamples: usize,
}

/// Resamples groups (runs, say) with replacement and computes `figure` each time: rows of one run depend on each
/// other, so single rows must not be drawn. The same seed gives the same interval.
///
/// `figure` may return `None` where it is undefined, such as a recall without events. `None` for fewer than two
/// groups, or if the figure is undefined for all groups or for more than half of the resamples.
///
/// ```
/// let runs = [vec![1.0, 1.0], vec![2.0], vec![3.0, 3.0, 3.0]];
/// let mean = |runs: &[&Vec<f64>]| run_statistics::mean(&runs.iter().flat_map(|run| run.iter().copied()).collect::<Vec<_>>());
/// let interval = run_statistics::group_bootstrap(&runs, mean, 500, 0.9, 7).unwrap();
/// assert!(interval.low <= interval.value && interval.value <= interval.high);
/// ```
pub fn group_bootstrap<G>(
    groups: &[G],
    figure: impl Fn(&[&G]) -> Option<f64>,
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> Option<BootstrapInterval> {
    if groups.len() < 2 {
        return None;
    }
    let value = figure(&groups.iter().collect::<Vec<_>>())?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut figures = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        let drawn: Vec<&G> = groups
            .iter()
            .map(|_| &groups[random.random_range(0..groups.len())])
            .collect();
        figures.extend(figure(&drawn).filter(|figure| figure.is_finite()));
    }
    if figures.len() * 2 < resamples {
        return None;
    }
    let figures = sorted(&figures);
    Some(BootstrapInterval {
        value,
        low: linear(&figures, 0.5 - 0.5 * confidence)?,
        high: linear(&figures, 0.5 + 0.5 * confidence)?,
        resamples: figures.len(),
    })
}
