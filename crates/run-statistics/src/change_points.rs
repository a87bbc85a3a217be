//! Where the level of a history of runs changed: E-divisive with a t test.

use crate::estimate::Estimate;
use crate::moments::{all_finite, mean};

/// Fewest values between two change points; a t test needs a variance on each side.
const SHORTEST_SEGMENT: usize = 3;

/// A change between two stretches of a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value after the change.
    pub at: usize,
    /// Mean of the stretch before, back to the change point before it.
    pub before: f64,
    /// Mean of the stretch after, up to the next change point.
    pub after: f64,
    /// Two-sided p-value of equal means, by Welch's t test of the two stretches.
    pub p_value: f64,
}

impl ChangePoint {
    /// after / before − 1.
    pub fn relative_change(&self) -> f64 {
        self.after / self.before - 1.0
    }
}

/// Finds changes of level in independent values, such as one figure of each of many runs. Ascending; empty for none.
///
/// Each stretch is split where the energy distance between both sides is largest (Matteson and James, Journal of the
/// American Statistical Association 109, 2014) as long as Welch's t test finds the sides different with a p-value of
/// at most `p_value`. The original permutation test is replaced by the t test as in Hunter (Fleming et al., ICPE 2023):
/// it is deterministic and finds small samples' changes. At the end neighbouring stretches are tested again, and the
/// least certain change is removed until all have that p-value and a relative change of at least `magnitude`.
///
/// `None` for a value that is not finite.
///
/// ```
/// let history: Vec<f64> = (0..30).map(|i| if i < 20 { 100.0 } else { 105.0 } + 0.3 * f64::from(i % 3)).collect();
/// let changes = run_statistics::change_points(&history, 0.001, 0.02).unwrap();
/// assert_eq!(changes.len(), 1);
/// assert_eq!(changes[0].at, 20);
/// ```
pub fn change_points(values: &[f64], p_value: f64, magnitude: f64) -> Option<Vec<ChangePoint>> {
    if !all_finite(values) {
        return None;
    }
    let mut edges = vec![0, values.len()];
    split(values, 0, values.len(), p_value, &mut edges);
    edges.sort_unstable();
    loop {
        let changes: Vec<ChangePoint> = edges
            .windows(3)
            .map(|edge| change(values, edge[0], edge[1], edge[2]))
            .collect::<Option<_>>()?;
        let weakest = changes
            .iter()
            .enumerate()
            .filter(|(_, change)| change.p_value > p_value || change.relative_change().abs() < magnitude)
            .max_by(|a, b| a.1.p_value.total_cmp(&b.1.p_value));
        match weakest {
            Some((i, _)) => {
                edges.remove(i + 1);
            }
            None => return Some(changes),
        }
    }
}

fn split(values: &[f64], from: usize, to: usize, p_value: f64, edges: &mut Vec<usize>) {
    let Some(at) = best_split(&values[from..to]).map(|at| from + at) else {
        return;
    };
    if change(values, from, at, to).is_some_and(|change| change.p_value <= p_value) {
        edges.push(at);
        split(values, from, at, p_value, edges);
        split(values, at, to, p_value, edges);
    }
}

fn change(values: &[f64], from: usize, at: usize, to: usize) -> Option<ChangePoint> {
    let before = Estimate::of_independent(&values[from..at])?;
    let after = Estimate::of_independent(&values[at..to])?;
    Some(ChangePoint {
        at,
        before: mean(&values[from..at])?,
        after: mean(&values[at..to])?,
        p_value: after.minus(before).p_value(0.0),
    })
}

/// The split with the largest energy statistic; `None` for a stretch too short to be split.
fn best_split(values: &[f64]) -> Option<usize> {
    let n = values.len();
    if n < 2 * SHORTEST_SEGMENT {
        return None;
    }
    // Sums of |xᵢ − xⱼ| within the left part, within the right part and across, updated as one value moves over.
    let distance_to =
        |value: f64, others: &[f64]| others.iter().map(|other| (value - other).abs()).sum::<f64>();
    let mut left = 0.0;
    let mut across = 0.0;
    let mut right: f64 = (0..n).map(|i| distance_to(values[i], &values[i + 1..])).sum();
    let mut best = (0.0, None);
    for at in 1..=n - SHORTEST_SEGMENT {
        let moved = values[at - 1];
        let to_left = distance_to(moved, &values[..at - 1]);
        let to_right = distance_to(moved, &values[at..]);
        left += to_left;
        right -= to_right;
        across += to_right - to_left;
        if at < SHORTEST_SEGMENT {
            continue;
        }
        let (m, k) = (at as f64, (n - at) as f64);
        let energy = 2.0 * across / (m * k) - left / (m * (m - 1.0) / 2.0) - right / (k * (k - 1.0) / 2.0);
        let statistic = m * k / (m + k) * energy;
        if statistic > best.0 {
            best = (statistic, Some(at));
        }
    }
    best.1
}
