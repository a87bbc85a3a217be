//! Calibration: of all forecasts with probability 0.3, about 30 % should come true.
//!
//! A table per failure type and horizon maps a predictor's raw probability to the observed frequency. Tables are
//! compiled in (`configs/monitor/calibration.toml`, fitted on generated runs) and updated with the resolved forecasts
//! of the target: counts in bins, shrunk towards the compiled-in table, made monotone by isotonic regression.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::score::Resolved;
use crate::config::CalibrationParameters;
use crate::error::{Error, Result};
use crate::forecast::{FailureType, HORIZONS_SECS, Horizons};
use crate::numeric::isotonic::{Point, fit, interpolate};

const COMPILED_IN: &str = include_str!("../../../../configs/monitor/calibration.toml");

/// Lower edges of the bins: finer where probabilities are small, since most are.
const EDGES: [f64; 18] = [
    0.0, 0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99,
];

/// A monotone map from one probability to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Raw probabilities, ascending.
    pub x: Vec<f64>,
    /// What they become, never falling.
    pub y: Vec<f64>,
}

impl Table {
    /// The calibrated probability; without points the probability itself.
    pub fn apply(&self, p: f64) -> f64 {
        if self.x.is_empty() {
            p
        } else {
            interpolate(&self.x, &self.y, p)
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    table: Vec<RawTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    failure_type: FailureType,
    horizon_secs: f64,
    x: Vec<f64>,
    y: Vec<f64>,
}

/// Tables of all types and horizons that have one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tables {
    tables: Vec<(FailureType, usize, Table)>,
}

impl Tables {
    /// The tables that are compiled in.
    pub fn compiled_in() -> &'static Self {
        static TABLES: OnceLock<Tables> = OnceLock::new();
        TABLES.get_or_init(|| {
            Self::parse(COMPILED_IN, "calibration.toml").expect("a test reads the compiled-in tables")
        })
    }

    /// Reads a file of tables.
    ///
    /// # Errors
    /// [`Error::Data`] if the file is not well-formed, a table is not monotone, or its horizon is unknown.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let data_error = |problem: String| Error::Data {
            file: file.to_owned(),
            problem,
        };
        let raw: File = toml::from_str(text).map_err(|e| data_error(e.to_string()))?;
        let mut tables = Vec::new();
        for raw in raw.table {
            let wrong = |problem: &str| {
                data_error(format!(
                    "table of {} at {} s: {problem}",
                    raw.failure_type, raw.horizon_secs
                ))
            };
            let horizon = HORIZONS_SECS
                .iter()
                .position(|secs| *secs == raw.horizon_secs)
                .ok_or_else(|| wrong("horizons are 5, 30, 60 and 300 s"))?;
            let rises = |values: &[f64]| values.windows(2).all(|pair| pair[0] <= pair[1]);
            let in_range = raw.x.iter().chain(&raw.y).all(|p| (0.0..=1.0).contains(p));
            if raw.x.len() != raw.y.len() || raw.x.is_empty() || !in_range || !rises(&raw.x) || !rises(&raw.y)
            {
                return Err(wrong(
                    "x and y need as many values, from 0 to 1, none below the one before",
                ));
            }
            tables.push((raw.failure_type, horizon, Table { x: raw.x, y: raw.y }));
        }
        Ok(Self { tables })
    }

    /// The table of one type and horizon.
    pub fn get(&self, failure_type: FailureType, horizon: usize) -> Option<&Table> {
        self.tables
            .iter()
            .find(|(t, h, _)| *t == failure_type && *h == horizon)
            .map(|(.., table)| table)
    }
}

/// Resolved forecasts in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Bin {
    pairs: f64,
    probability: f64,
    happened: f64,
}

/// What was learned about one failure type from one target. Survives a restart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Calibrator {
    counts: [[Bin; EDGES.len()]; HORIZONS_SECS.len()],
    #[serde(skip)]
    tables: [Option<Table>; HORIZONS_SECS.len()],
    #[serde(skip)]
    since_fit: u32,
    #[serde(skip)]
    is_fitted: bool,
}

/// Resolved forecasts between two fits.
const FIT_EVERY: u32 = 200;

impl Calibrator {
    /// Counts a resolved forecast.
    pub fn learn(&mut self, resolved: Resolved) {
        if !resolved.raw.is_finite() {
            return;
        }
        let place = EDGES
            .partition_point(|edge| *edge <= resolved.raw)
            .saturating_sub(1);
        let bin = &mut self.counts[resolved.horizon][place];
        bin.pairs += 1.0;
        bin.probability += resolved.raw;
        bin.happened += f64::from(u8::from(resolved.happened));
        self.since_fit += 1;
    }

    /// Calibrated probabilities, and whether any table was applied.
    pub fn apply(
        &mut self,
        failure_type: FailureType,
        raw: Horizons,
        compiled_in: &Tables,
        parameters: &CalibrationParameters,
    ) -> (Horizons, bool) {
        if !self.is_fitted || self.since_fit >= FIT_EVERY {
            self.fit(failure_type, compiled_in, parameters);
        }
        let mut applied = false;
        let mut out = raw.as_array();
        for (horizon, p) in out.iter_mut().enumerate() {
            let table = self.tables[horizon]
                .as_ref()
                .or(compiled_in.get(failure_type, horizon));
            if let Some(table) = table {
                *p = table.apply(*p);
                applied = true;
            }
        }
        (Horizons::new(out), applied)
    }

    fn fit(&mut self, failure_type: FailureType, compiled_in: &Tables, p: &CalibrationParameters) {
        self.is_fitted = true;
        self.since_fit = 0;
        for horizon in 0..HORIZONS_SECS.len() {
            let bins = &self.counts[horizon];
            let total: f64 = bins.iter().map(|bin| bin.pairs).sum();
            let failures: f64 = bins.iter().map(|bin| bin.happened).sum();
            if total < p.min_resolved || failures < p.min_failures {
                continue;
            }
            let prior = compiled_in.get(failure_type, horizon);
            self.tables[horizon] = Some(table_of(bins, prior, p.prior_weight));
        }
    }

    /// Tables without the prior, for fitting the compiled-in file.
    pub fn raw_tables(&self) -> [Table; HORIZONS_SECS.len()] {
        std::array::from_fn(|horizon| table_of(&self.counts[horizon], None, 0.0))
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (bins, more) in self.counts.iter_mut().zip(&other.counts) {
            for (bin, more) in bins.iter_mut().zip(more) {
                bin.pairs += more.pairs;
                bin.probability += more.probability;
                bin.happened += more.happened;
            }
        }
        self.is_fitted = false;
    }
}

fn table_of(bins: &[Bin], prior: Option<&Table>, prior_weight: f64) -> Table {
    let each = prior_weight / bins.len() as f64;
    let points: Vec<Point> = bins
        .iter()
        .enumerate()
        .filter_map(|(i, bin)| {
            let weight = bin.pairs + each;
            if weight <= 0.0 {
                return None;
            }
            let middle = (EDGES[i] + EDGES.get(i + 1).copied().unwrap_or(1.0)) / 2.0;
            let x = if bin.pairs > 0.0 {
                bin.probability / bin.pairs
            } else {
                middle
            };
            let expected = prior.map_or(x, |table| table.apply(x));
            Some(Point {
                x,
                y: (bin.happened + each * expected) / weight,
                weight,
            })
        })
        .collect();
    Table {
        x: points.iter().map(|point| point.x).collect(),
        y: fit(&points),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn the_compiled_in_tables_are_well_formed() {
        assert!(
            Tables::compiled_in()
                .tables
                .iter()
                .all(|(.., table)| !table.x.is_empty())
        );
    }

    #[test]
    fn a_predictor_that_exaggerates_is_brought_down() {
        let parameters = Settings::default().parameters.calibration;
        let mut calibrator = Calibrator::default();
        for i in 0..5000_u32 {
            // Raw 0.8 happens 20 % of the time, raw 0.05 1 %.
            calibrator.learn(Resolved {
                horizon: 2,
                raw: 0.8,
                happened: i % 5 == 0,
            });
            calibrator.learn(Resolved {
                horizon: 2,
                raw: 0.05,
                happened: i % 100 == 0,
            });
        }
        let raw = Horizons::new([0.0, 0.0, 0.8, 0.8]);
        let (calibrated, applied) =
            calibrator.apply(FailureType::Network, raw, &Tables::default(), &parameters);
        assert!(applied);
        assert!((calibrated.as_array()[2] - 0.2).abs() < 0.02, "{calibrated:?}");
    }

    #[test]
    fn few_outcomes_change_nothing() {
        let parameters = Settings::default().parameters.calibration;
        let mut calibrator = Calibrator::default();
        for _ in 0..100 {
            calibrator.learn(Resolved {
                horizon: 0,
                raw: 0.8,
                happened: false,
            });
        }
        let raw = Horizons::all(0.8);
        assert_eq!(
            calibrator.apply(FailureType::Network, raw, &Tables::default(), &parameters),
            (raw, false)
        );
    }

    #[test]
    fn mistakes_in_a_file_are_named() {
        let text = "[[table]]\nfailure_type = \"hang\"\nhorizon_secs = 60\nx = [0, 1]\ny = [0.5, 0.2]\n";
        let error = Tables::parse(text, "mine.toml")
            .expect_err("it falls")
            .to_string();
        assert!(
            error.contains("mine.toml") && error.contains("hang at 60 s"),
            "{error}"
        );
    }
}
