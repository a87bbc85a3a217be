//! Several runs a side: the run is the unit, since runs of one build differ by more than their requests say.

use run_statistics::{mean, percentile};

use super::figure::{Draft, Gap};
use super::{
    CompareOptions, ComparedRun, Comparison, Conclusion, Metric, QUANTILES, comparable, interval, metric,
    noise, spans,
};

/// Fewer runs a side give an interval too wide to be of use.
const FEWEST_RUNS: usize = 3;

/// Compares several runs of one setting with several of another.
///
/// `in_turn` says that they were run A B A B: then the i-th of both sides is a pair, and what drifts over the hours
/// cancels. At least 3 a side are needed; the first run of each side stands for its settings, and every other one has
/// to be comparable with it.
pub fn compare_repeats(
    base: &[ComparedRun<'_>],
    other: &[ComparedRun<'_>],
    in_turn: bool,
    options: &CompareOptions,
) -> Option<Comparison> {
    let (first_base, first_other) = (base.first()?, other.first()?);
    let mut mismatches = Vec::new();
    // A run of the same side must not even be of another version.
    for (reference, runs, across) in [
        (first_base, &base[1..], &[][..]),
        (first_base, other, options.across.as_slice()),
    ] {
        for run in runs {
            for mismatch in comparable::mismatches(reference.run, run.run, across) {
                if !mismatches.contains(&mismatch) {
                    mismatches.push(mismatch);
                }
            }
        }
    }
    let mut comparison = Comparison {
        base: first_base.run.facts.name.clone(),
        other: first_other.run.facts.name.clone(),
        conclusion: Conclusion::NotComparable,
        mismatches,
        paired: in_turn && base.len() == other.len(),
        noise: Vec::new(),
        decisive: Vec::new(),
        others: Vec::new(),
        runs: base.len().min(other.len()),
    };
    if comparison.is_refused() {
        return Some(comparison);
    }
    for (a, b) in base.iter().zip(other) {
        for reason in noise::reasons(a, b) {
            if !comparison.noise.contains(&reason) {
                comparison.noise.push(reason);
            }
        }
    }
    let scenario = first_base.run.facts.scenario;
    let metrics = || {
        Metric::DECISIVE
            .into_iter()
            .filter(|metric| metric.applies_to(scenario))
    };
    let decisive = metrics()
        .map(|metric| {
            let of_run = |values: &[f64]| mean(values);
            draft(metric, metric.name().to_owned(), base, other, in_turn, &of_run)
        })
        .collect();
    let shown = metrics()
        .filter(|metric| metric.is_latency())
        .flat_map(|metric| {
            QUANTILES.map(|(q, name)| {
                let of_run = |values: &[f64]| percentile::linear(&percentile::sorted(values), q);
                draft(
                    metric,
                    format!("{name} of {}", metric.name()),
                    base,
                    other,
                    in_turn,
                    &of_run,
                )
            })
        })
        .collect();
    comparison.conclude(decisive, shown, options);
    Some(comparison)
}

fn draft(
    metric: Metric,
    name: String,
    base: &[ComparedRun<'_>],
    other: &[ComparedRun<'_>],
    in_turn: bool,
    of_run: &dyn Fn(&[f64]) -> Option<f64>,
) -> Draft {
    let figures = |runs: &[ComparedRun<'_>]| -> Result<Vec<f64>, Gap> {
        runs.iter().map(|run| figure(metric, run, of_run)).collect()
    };
    let (a, b) = (figures(base), figures(other));
    let ratio = match (&a, &b) {
        (Ok(a), Ok(b)) if a.len().min(b.len()) < FEWEST_RUNS => Err(Gap::TooLittle(format!(
            "{} and {} runs; at least {FEWEST_RUNS} a side are needed",
            a.len(),
            b.len()
        ))),
        (Ok(a), Ok(b)) => interval::of_runs(a, b, in_turn)
            .ok_or_else(|| Gap::TooLittle("a figure of a run is not above 0".to_owned())),
        (Err(gap), _) | (_, Err(gap)) => Err(gap.clone()),
    };
    Draft {
        name,
        unit: metric.unit().to_owned(),
        lower_is_better: metric.is_latency(),
        base: a.ok().and_then(|a| mean(&a)),
        other: b.ok().and_then(|b| mean(&b)),
        ratio,
    }
}

/// A run's figure in its steady window.
fn figure(metric: Metric, run: &ComparedRun<'_>, of_run: &dyn Fn(&[f64]) -> Option<f64>) -> Result<f64, Gap> {
    let (span, _) = spans(metric, run, run)?;
    let values = if metric.is_latency() {
        metric::latencies(metric, run.run, span)
    } else {
        metric::tokens_per_second(run.run, span).map_err(Gap::NotComparable)?
    };
    of_run(&values).ok_or_else(|| Gap::TooLittle(format!("{} has no {}", run.run.facts.name, metric.name())))
}
