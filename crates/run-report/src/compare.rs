//! Runs against each other: the comparison of `run-diagnosis`, and as what a page shows.

use std::collections::BTreeMap;

use report_page::model::{self, ConfigurationDifference, Quantity};
pub use run_diagnosis::compare::{CompareOptions, Comparison, Conclusion};
use run_diagnosis::compare::{ComparedFigure, ComparedRun, Mismatch, OtherSeries, Severity};
use run_diagnosis::input::Column;
use vllm_metrics::derive::align::{self, Combine};
use vllm_metrics::derive::totals;

use crate::analysis::Analysis;
use crate::error::{Error, Result};
use crate::input::Grid;

/// Several runs against the first, or two sets of repeats.
#[derive(Debug, Clone)]
pub struct Compared {
    /// One for each run after the first; a single one for two sets of repeats.
    pub comparisons: Vec<Comparison>,
    /// What they say, for a page of the same runs in the same order.
    pub page: model::Comparison,
}

impl Compared {
    /// The words of all comparisons together: one regression makes a regression, then one pair that cannot be compared,
    /// then an improvement, then an open question.
    pub fn conclusion(&self) -> Conclusion {
        [
            Conclusion::Regressed,
            Conclusion::NotComparable,
            Conclusion::Improved,
            Conclusion::Inconclusive,
        ]
        .into_iter()
        .find(|conclusion| {
            self.comparisons
                .iter()
                .any(|comparison| comparison.conclusion == *conclusion)
        })
        .unwrap_or(Conclusion::NoDifference)
    }

    /// Whether any figure that decides was left open.
    pub fn is_undecided(&self) -> bool {
        self.comparisons.iter().any(Comparison::is_undecided)
    }

    /// Every comparison in sentences.
    pub fn sentences(&self) -> Vec<String> {
        self.comparisons.iter().flat_map(Comparison::sentences).collect()
    }
}

/// Compares each run with the first.
///
/// # Errors
/// [`Error::NothingToCompare`] for fewer than two runs.
pub fn compare(runs: &[&Analysis<'_>], options: &CompareOptions) -> Result<Compared> {
    let [base, others @ ..] = runs else {
        return Err(Error::NothingToCompare);
    };
    if others.is_empty() {
        return Err(Error::NothingToCompare);
    }
    let series: Vec<Vec<OtherSeries>> = runs.iter().map(|run| other_series(run)).collect();
    let comparisons: Vec<Comparison> = others
        .iter()
        .zip(&series[1..])
        .map(|(other, other_series)| {
            run_diagnosis::compare::compare(of(base, &series[0]), of(other, other_series), options)
        })
        .collect();
    let places: Vec<usize> = (1..runs.len()).collect();
    Ok(Compared {
        page: page(&comparisons, &places, runs.len()),
        comparisons,
    })
}

/// Compares repeats of one setting with repeats of another; the run is the unit. `in_turn` says that they were run
/// A B A B. The page's runs are those of `base`, then those of `other`.
///
/// # Errors
/// [`Error::NothingToCompare`] for a side without runs.
pub fn compare_repeats(
    base: &[&Analysis<'_>],
    other: &[&Analysis<'_>],
    in_turn: bool,
    options: &CompareOptions,
) -> Result<Compared> {
    let series = |runs: &[&Analysis<'_>]| -> Vec<Vec<OtherSeries>> {
        runs.iter().map(|run| other_series(run)).collect()
    };
    let (base_series, other_series) = (series(base), series(other));
    let a: Vec<ComparedRun<'_>> = base
        .iter()
        .zip(&base_series)
        .map(|(run, series)| of(run, series))
        .collect();
    let b: Vec<ComparedRun<'_>> = other
        .iter()
        .zip(&other_series)
        .map(|(run, series)| of(run, series))
        .collect();
    let comparison =
        run_diagnosis::compare::compare_repeats(&a, &b, in_turn, options).ok_or(Error::NothingToCompare)?;
    let comparisons = vec![comparison];
    Ok(Compared {
        page: page(&comparisons, &[base.len()], base.len() + other.len()),
        comparisons,
    })
}

fn of<'a>(analysis: &'a Analysis<'_>, others: &'a [OtherSeries]) -> ComparedRun<'a> {
    ComparedRun {
        run: &analysis.run,
        window: &analysis.window,
        diagnosis: analysis.diagnosis.as_ref(),
        others,
    }
}

/// Series that are compared but never decide.
fn other_series(analysis: &Analysis<'_>) -> Vec<OtherSeries> {
    let seconds = &analysis.run.seconds;
    let grid = Grid {
        start_ns: seconds.start_ns,
        seconds: seconds.seconds,
    };
    let points: Vec<align::Points<'_>> = totals::named(analysis.record(), "gpu_power_watts")
        .map(|series| (&series.timestamps_ns[..], &series.values[..]))
        .collect();
    if points.is_empty() {
        return Vec::new();
    }
    let (times, values) = align::combine(&points, Combine::Sum);
    vec![OtherSeries {
        name: "GPU power".to_owned(),
        unit: "watts".to_owned(),
        lower_is_better: true,
        column: Column::of(grid.gauge(&times, &values)),
    }]
}

/// What a page shows of comparisons, each of them about the run at a place of the page.
fn page(comparisons: &[Comparison], places: &[usize], runs: usize) -> model::Comparison {
    let mut remarks: Vec<String> = Vec::new();
    let mut differences = Vec::new();
    for (comparison, place) in comparisons.iter().zip(places) {
        // The sentences on single figures stand in the table.
        let figures: Vec<String> = comparison.decisive.iter().map(ComparedFigure::sentence).collect();
        for sentence in comparison.sentences().into_iter().skip(1) {
            if !figures.contains(&sentence) && !remarks.contains(&sentence) {
                remarks.push(sentence);
            }
        }
        let of = |gate| move |figure: &ComparedFigure| difference(figure, *place, gate);
        differences.extend(comparison.decisive.iter().map(of(true)));
        differences.extend(comparison.others.iter().map(of(false)));
    }
    let headlines: Vec<String> = comparisons
        .iter()
        .filter_map(|comparison| comparison.sentences().into_iter().next())
        .collect();
    model::Comparison {
        summary: headlines.join(" "),
        remarks,
        differences,
        configuration: configuration(comparisons, places, runs),
    }
}

fn difference(figure: &ComparedFigure, run: usize, gate: bool) -> model::Difference {
    let absent = || {
        let because = figure.because.clone();
        Quantity::absent(because.unwrap_or_else(|| "not known".to_owned()))
    };
    let quantity = |value: Option<f64>| value.map_or_else(absent, Quantity::measured);
    let mut note: Vec<String> = figure.because.clone().into_iter().collect();
    note.extend(
        figure
            .longer_by
            .map(|longer| format!("a run about {longer:.1} times as long would decide it")),
    );
    model::Difference {
        name: figure.name.clone(),
        unit: if figure.unit == "s" {
            "seconds".to_owned()
        } else {
            figure.unit.clone()
        },
        definition: definition(&figure.name).to_owned(),
        run,
        baseline: quantity(figure.base),
        value: quantity(figure.other),
        change_ratio: figure.ratio.map(|ratio| ratio.relative_change()),
        interval_ratio: figure
            .ratio
            .map(|ratio| (ratio.ratio_low - 1.0, ratio.ratio_high - 1.0)),
        conclusion: match figure.conclusion {
            Conclusion::Improved => model::Conclusion::Improved,
            Conclusion::Regressed => model::Conclusion::Regressed,
            Conclusion::NoDifference => model::Conclusion::NoDifference,
            Conclusion::Inconclusive => model::Conclusion::Inconclusive,
            Conclusion::NotComparable => model::Conclusion::NotComparable,
        },
        gate,
        note: note.join("; "),
    }
}

fn definition(name: &str) -> &'static str {
    match name {
        name if name.ends_with("time per output token") => {
            "(done − first token) / (output tokens − 1), of requests issued in the steady window."
        }
        name if name.ends_with("time to first token") => {
            "From sending to the first content token, of requests issued in the steady window."
        }
        name if name.ends_with("end-to-end latency") => {
            "From sending to the last token, of requests issued in the steady window."
        }
        "output token throughput" => "Output tokens that reached the client per second of the steady window.",
        "GPU power" => "Power of all GPUs together, second by second.",
        _ => "",
    }
}

/// Settings in which any run differs from the first.
fn configuration(comparisons: &[Comparison], places: &[usize], runs: usize) -> Vec<ConfigurationDifference> {
    let mut settings: BTreeMap<&str, Vec<(usize, &Mismatch)>> = BTreeMap::new();
    for (comparison, place) in comparisons.iter().zip(places) {
        for mismatch in &comparison.mismatches {
            settings
                .entry(&mismatch.what)
                .or_default()
                .push((*place, mismatch));
        }
    }
    let mut differences: Vec<ConfigurationDifference> = settings
        .into_iter()
        .map(|(name, found)| {
            // A run without a mismatch has what the first run has.
            let mut values = vec![found[0].1.base.clone(); runs];
            for (place, mismatch) in &found {
                values[*place].clone_from(&mismatch.other);
            }
            ConfigurationDifference {
                name: name.to_owned(),
                values,
                blocking: found
                    .iter()
                    .any(|(_, mismatch)| mismatch.severity == Severity::Refuse),
            }
        })
        .collect();
    // What forbids the comparison first.
    differences.sort_by_key(|difference| !difference.blocking);
    differences
}
