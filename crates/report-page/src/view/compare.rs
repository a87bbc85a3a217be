//! Differences between runs.

use serde::Serialize;

use super::Cell;
use crate::format;
use crate::model::{self, Conclusion};

#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub summary: String,
    pub remarks: Vec<String>,
    pub differences: Vec<Difference>,
    pub configuration: Vec<Setting>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    pub name: String,
    pub definition: String,
    pub run: String,
    pub baseline: Cell,
    pub value: Cell,
    pub change: String,
    pub interval: String,
    pub word: &'static str,
    /// Class of the word.
    pub state: &'static str,
    pub gate: bool,
    pub note: String,
    /// Place of the interval and the change in a drawing from -20 % to +20 %, in percent of its width.
    pub bar: Option<(f64, f64, f64)>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub name: String,
    pub values: Vec<String>,
    pub blocking: bool,
}

/// Greatest change in the drawing of intervals.
const MOST: f64 = 0.2;

impl Comparison {
    pub(crate) fn of(comparison: &model::Comparison, runs: &[model::Run]) -> Self {
        Self {
            summary: comparison.summary.clone(),
            remarks: comparison.remarks.clone(),
            differences: comparison
                .differences
                .iter()
                .map(|d| Difference::of(d, runs))
                .collect(),
            configuration: comparison
                .configuration
                .iter()
                .map(|c| Setting {
                    name: c.name.clone(),
                    values: c
                        .values
                        .iter()
                        .map(|v| v.clone().unwrap_or_else(|| "not known".into()))
                        .collect(),
                    blocking: c.blocking,
                })
                .collect(),
        }
    }
}

impl Difference {
    fn of(d: &model::Difference, runs: &[model::Run]) -> Self {
        let (word, state) = match d.conclusion {
            Conclusion::Improved => ("improved", "improved"),
            Conclusion::Regressed => ("regressed", "regressed"),
            Conclusion::NoDifference => ("no difference", "same"),
            Conclusion::Inconclusive => ("inconclusive", "unknown"),
            Conclusion::NotComparable => ("not comparable", "unknown"),
        };
        let place = |ratio: f64| (ratio.clamp(-MOST, MOST) / MOST + 1.0) * 50.0;
        Self {
            name: d.name.clone(),
            definition: d.definition.clone(),
            run: runs.get(d.run).map_or_else(String::new, |run| run.name.clone()),
            baseline: Cell::of(&d.baseline, &d.unit),
            value: Cell::of(&d.value, &d.unit),
            change: d.change_ratio.map_or_else(|| "—".into(), format::change),
            interval: d.interval_ratio.map_or_else(String::new, |(low, high)| {
                format!("{} to {}", format::change(low), format::change(high))
            }),
            word,
            state,
            gate: d.gate,
            note: d.note.clone(),
            bar: d
                .interval_ratio
                .zip(d.change_ratio)
                .map(|((low, high), change)| (place(low), place(high) - place(low), place(change))),
        }
    }
}
