//! Quantiles of a dependent series with an error, by sectioning.

use crate::estimate::Estimate;
use crate::moments::all_finite;
use crate::percentile::{linear, sorted};

/// Consecutive sections a series is cut into.
pub const SECTIONS: usize = 10;

/// Quantile `q` of a series and its standard error.
///
/// The value is the quantile of the whole series; the error comes from the scatter of the quantiles of 10 consecutive
/// sections around it, with 9 degrees of freedom (Asmussen and Glynn, Stochastic Simulation, III.5). The first n mod
/// 10 values are left out. `None` if a section holds fewer than `1 / (1 − q)` or `1 / q` values, since its quantile
/// would then be its largest or smallest value, or for a value that is not finite.
///
/// ```
/// let series: Vec<f64> = (0..1000).map(|i| f64::from((i * 37) % 100)).collect();
/// let median = run_statistics::sectioned_quantile(&series, 0.5).unwrap();
/// assert_eq!((median.value, median.degrees_of_freedom), (49.5, 9.0));
/// assert!(run_statistics::sectioned_quantile(&series, 0.999).is_none());
/// ```
pub fn sectioned_quantile(values: &[f64], q: f64) -> Option<Estimate> {
    let whole = Sections::of(values, q)?;
    estimate(whole.value, &whole.sections)
}

/// `quantile of b − quantile of a` for two series whose sections correspond to each other, as when both runs issued
/// the same requests in the same order: what the sections of a pair share then cancels. `None` as in
/// [`sectioned_quantile`].
///
/// ```
/// let a: Vec<f64> = (0..1000).map(|i| f64::from((i * 37) % 100)).collect();
/// let b: Vec<f64> = a.iter().map(|value| value + 2.0).collect();
/// let difference = run_statistics::sectioned_quantile_difference(&a, &b, 0.5).unwrap();
/// assert_eq!((difference.value, difference.standard_error), (2.0, 0.0));
/// ```
pub fn sectioned_quantile_difference(a: &[f64], b: &[f64], q: f64) -> Option<Estimate> {
    let (a, b) = (Sections::of(a, q)?, Sections::of(b, q)?);
    let differences: Vec<f64> = b.sections.iter().zip(&a.sections).map(|(b, a)| b - a).collect();
    estimate(b.value - a.value, &differences)
}

struct Sections {
    value: f64,
    sections: Vec<f64>,
}

impl Sections {
    fn of(values: &[f64], q: f64) -> Option<Self> {
        let size = values.len() / SECTIONS;
        let beyond = q.min(1.0 - q) * size as f64;
        // The comparison must allow for 1 − 0.99 being a little below 0.01.
        if !all_finite(values) || beyond < 1.0 - 1e-9 {
            return None;
        }
        let used = &values[values.len() - size * SECTIONS..];
        Some(Self {
            value: linear(&sorted(used), q)?,
            sections: used
                .chunks_exact(size)
                .map(|section| linear(&sorted(section), q))
                .collect::<Option<_>>()?,
        })
    }
}

fn estimate(value: f64, sections: &[f64]) -> Option<Estimate> {
    let k = sections.len() as f64;
    let squares: f64 = sections.iter().map(|section| (section - value).powi(2)).sum();
    Some(Estimate {
        value,
        standard_error: (squares / (k * (k - 1.0))).sqrt(),
        degrees_of_freedom: k - 1.0,
    })
}
