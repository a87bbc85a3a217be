//! Whether a series keeps its level: a test for a shift, then one for a drift.

use run_statistics::{correlation_time, mann_kendall, mean, means_of_batches, pettitt, sen_slope, variance};
use serde::Serialize;

/// Batch means that the tests look at. More would correlate, fewer could not show a shift.
const BATCHES: usize = 20;

/// Changes below this are left alone, however certain: 5 %.
const SMALLEST_CHANGE: f64 = 0.05;

/// Both rank tests are made at 5 %.
const P_VALUE: f64 = 0.05;

/// A change also has to exceed so many of its standard errors, with the series' own correlation time in them. The
/// rank tests take the 20 batches as nearly independent and alone give up to 20 % false alarms in short runs with
/// slow noise. The place of a shift is chosen as the largest, so it needs more than a slope.
const SHIFT_ERRORS: f64 = 3.2;
const SLOPE_ERRORS: f64 = 2.3;

/// What a series does over its whole length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Steadiness {
    /// No change of 5 % or more can be seen.
    Steady,
    /// One level, then another.
    LevelShift {
        /// Index of the first value of the second level.
        at: usize,
        /// Second level over the first, minus 1.
        relative_change: f64,
    },
    /// A slow movement over the whole length.
    Drift {
        /// Change from end to end over the median level.
        relative_change: f64,
    },
}

/// A series' steadiness, and how long its values remember.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Assessment {
    /// What the series does.
    pub steadiness: Steadiness,
    /// Correlation time in samples, of what is left when the shift or drift is taken out. With a shift left in, it
    /// would be nearly as long as the run.
    pub correlation_time: f64,
}

/// Looks at a series of evenly spaced values above 0. `None` for fewer than 40 or a value that is not finite.
///
/// Twenty batch means. A level shift: Pettitt's test with p < 0.05 and a change of at least 5 % of the first level. A
/// drift: Mann-Kendall's test with Hamed and Rao's correction, p < 0.05, and at least 5 % from end to end by Sen's
/// slope. If both hold, whichever of a step and a straight line explains more.
///
/// ```
/// use run_diagnosis::window::{Steadiness, assess};
/// let noise = |i: i32| f64::from((i * 7919) % 13) / 13.0;
/// let series: Vec<f64> = (0..300).map(|i| if i < 180 { 100.0 } else { 88.0 } + noise(i)).collect();
/// let Steadiness::LevelShift { at, relative_change } = assess(&series).unwrap().steadiness else { panic!() };
/// assert_eq!(at, 180);
/// assert!((relative_change + 0.12).abs() < 0.01);
/// ```
pub fn assess(values: &[f64]) -> Option<Assessment> {
    if values.len() < 2 * BATCHES {
        return None;
    }
    let means = means_of_batches(values, BATCHES)?;

    let at = best_step(values, values.len() / BATCHES);
    let without_step = remove_step(values, at)?;
    let step = Change {
        relative: mean(&values[at..])? / mean(&values[..at])? - 1.0,
        errors: step_in_errors(values, &without_step, at)?,
    };
    let shifted = pettitt(&means)?.p_value < P_VALUE && step.counts(SHIFT_ERRORS);

    let without_line = remove_line(values)?;
    let slope = Change {
        relative: sen_slope(&means)? * (BATCHES - 1) as f64
            / run_statistics::percentile::median(&means)?.abs(),
        errors: slope_in_errors(values, &without_line)?,
    };
    let drifting = mann_kendall(&means)?.p_value < P_VALUE && slope.counts(SLOPE_ERRORS);

    let step_fits_better = fits_better(&without_step, &without_line)?;
    let (steadiness, rest) = match (shifted, drifting) {
        (true, true) if !step_fits_better => (drift(slope), without_line),
        (true, _) => (
            Steadiness::LevelShift {
                at,
                relative_change: step.relative,
            },
            without_step,
        ),
        (false, true) => (drift(slope), without_line),
        (false, false) => (Steadiness::Steady, values.to_vec()),
    };
    Some(Assessment {
        steadiness,
        correlation_time: correlation_time(&rest)?,
    })
}

fn drift(slope: Change) -> Steadiness {
    Steadiness::Drift {
        relative_change: slope.relative,
    }
}

/// A change, relative to the level and in standard errors of itself.
#[derive(Clone, Copy)]
struct Change {
    relative: f64,
    errors: f64,
}

impl Change {
    fn counts(self, fewest_errors: f64) -> bool {
        self.relative.is_finite() && self.relative.abs() >= SMALLEST_CHANGE && self.errors >= fewest_errors
    }
}

/// The place where a step leaves the smallest squared residuals, at least `margin` values from both ends. Pettitt's
/// own place is one of 20 and, by ranks, can be several batches off.
fn best_step(values: &[f64], margin: usize) -> usize {
    let n = values.len();
    let total: f64 = values.iter().sum();
    let mut before: f64 = values[..margin].iter().sum();
    let mut best = (f64::NEG_INFINITY, margin);
    for (place, value) in values.iter().enumerate().take(n - margin).skip(margin) {
        let after = total - before;
        // What the two means explain; the rest of the squares is the same for every place.
        let explained = before * before / place as f64 + after * after / (n - place) as f64;
        if explained > best.0 {
            best = (explained, place);
        }
        before += value;
    }
    best.1
}

/// Whether a step explains a series better than a line, by Schwarz's criterion: it has one parameter more, its place.
fn fits_better(without_step: &[f64], without_line: &[f64]) -> Option<bool> {
    let independent = without_step.len() as f64 / correlation_time(without_step)?;
    let ratio = squares(without_step) / squares(without_line);
    Some(independent * ratio.ln() + independent.ln() <= 0.0)
}

fn step_in_errors(values: &[f64], rest: &[f64], at: usize) -> Option<f64> {
    let (before, after) = (&values[..at], &values[at..]);
    let shares = 1.0 / before.len() as f64 + 1.0 / after.len() as f64;
    let error = (correlation_time(rest)? * variance(rest)? * shares).sqrt();
    Some((mean(after)? - mean(before)?).abs() / error)
}

fn slope_in_errors(values: &[f64], rest: &[f64]) -> Option<f64> {
    let spread: f64 = (0..values.len()).map(|i| centred(i, values.len()).powi(2)).sum();
    let error = (correlation_time(rest)? * variance(rest)? / spread).sqrt();
    Some(slope_of(values).abs() / error)
}

fn remove_step(values: &[f64], at: usize) -> Option<Vec<f64>> {
    let (before, after) = (mean(&values[..at])?, mean(&values[at..])?);
    let level = |i: usize| if i < at { before } else { after };
    Some(
        values
            .iter()
            .enumerate()
            .map(|(i, value)| value - level(i))
            .collect(),
    )
}

fn remove_line(values: &[f64]) -> Option<Vec<f64>> {
    let (level, slope) = (mean(values)?, slope_of(values));
    let line = |i: usize| level + slope * centred(i, values.len());
    Some(
        values
            .iter()
            .enumerate()
            .map(|(i, value)| value - line(i))
            .collect(),
    )
}

/// Slope of the least squares line, per step.
fn slope_of(values: &[f64]) -> f64 {
    let n = values.len();
    let (mut products, mut spread) = (0.0, 0.0);
    for (i, value) in values.iter().enumerate() {
        products += centred(i, n) * value;
        spread += centred(i, n).powi(2);
    }
    products / spread
}

/// Index counted from the middle.
fn centred(i: usize, n: usize) -> f64 {
    i as f64 - (n - 1) as f64 / 2.0
}

fn squares(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}
