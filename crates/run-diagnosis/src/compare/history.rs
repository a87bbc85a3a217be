//! Many runs in a row: each against the first, the trend, and where the level changed.

use run_statistics::{change_points, mann_kendall, sen_slope};
use serde::Serialize;

/// Change points need this many runs.
const FEWEST_RUNS: usize = 20;

/// A change of level counts with this p-value and from this relative size on.
const P_VALUE: f64 = 0.001;
const MAGNITUDE: f64 = 0.02;

/// One figure of every run of a history, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryFigure {
    /// What it is.
    pub name: String,
    /// Smaller is better.
    pub lower_is_better: bool,
    /// Its value in each run; absent where a run has none.
    pub values: Vec<Option<f64>>,
}

/// A figure over a history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// What it is.
    pub name: String,
    /// Each run's value over the first known one.
    pub ratios_to_first: Vec<Option<f64>>,
    /// Relative change per run, the median over all pairs; absent for fewer than four known values.
    pub trend_per_run: Option<f64>,
    /// p-value of no trend.
    pub trend_p_value: Option<f64>,
    /// Where the level changed; absent with its reason for too few runs.
    pub changes: Option<Vec<LevelChange>>,
    /// Changes for the worse. Many of these and no improvement are a sign of false alarms.
    pub regressions: usize,
    /// Changes for the better.
    pub improvements: usize,
}

/// A change of level in a history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelChange {
    /// Index of the first run after it.
    pub run: usize,
    /// Mean before.
    pub before: f64,
    /// Mean after.
    pub after: f64,
    /// After over before, minus 1.
    pub relative_change: f64,
    /// p-value of equal means.
    pub p_value: f64,
    /// It is a change for the worse.
    pub is_regression: bool,
}

/// Looks at one figure over a history of runs.
///
/// Change points (E-divisive with a t test, p ≤ 0.001, at least 2 %) are searched from 20 known values on.
///
/// ```
/// use run_diagnosis::compare::{HistoryFigure, history};
/// let values = (0..30).map(|run| Some(if run < 18 { 10.0 } else { 10.6 } + 0.02 * f64::from(run % 4))).collect();
/// let found = history(&HistoryFigure { name: "p99 of time to first token".into(), lower_is_better: true, values });
/// assert_eq!((found.regressions, found.improvements), (1, 0));
/// assert_eq!(found.changes.unwrap()[0].run, 18);
/// ```
pub fn history(figure: &HistoryFigure) -> History {
    let known: Vec<(usize, f64)> = figure
        .values
        .iter()
        .enumerate()
        .filter_map(|(run, value)| Some((run, (*value)?)))
        .collect();
    let values: Vec<f64> = known.iter().map(|(_, value)| *value).collect();
    let first = values.first().copied();
    let ratio = |value: f64| first.map(|first| value / first).filter(|ratio| ratio.is_finite());
    let trend = mann_kendall(&values);
    let changes = (values.len() >= FEWEST_RUNS)
        .then(|| change_points(&values, P_VALUE, MAGNITUDE))
        .flatten();
    let changes: Option<Vec<LevelChange>> = changes.map(|changes| {
        let level = |change: &run_statistics::ChangePoint| LevelChange {
            run: known[change.at].0,
            before: change.before,
            after: change.after,
            relative_change: change.relative_change(),
            p_value: change.p_value,
            is_regression: (change.after > change.before) == figure.lower_is_better,
        };
        changes.iter().map(level).collect()
    });
    let count = |worse: bool| {
        changes
            .iter()
            .flatten()
            .filter(|change| change.is_regression == worse)
            .count()
    };
    History {
        name: figure.name.clone(),
        ratios_to_first: figure.values.iter().map(|value| value.and_then(ratio)).collect(),
        trend_per_run: trend.and_then(|_| ratio(sen_slope(&values)?)),
        trend_p_value: trend.map(|trend| trend.p_value),
        regressions: count(true),
        improvements: count(false),
        changes,
    }
}
