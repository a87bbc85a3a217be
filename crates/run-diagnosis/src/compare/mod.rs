//! Two runs, or several of each: improved, regressed, no difference, inconclusive or not comparable.
//!
//! Requests of one run depend on each other, so that a test for independent values finds differences between equal
//! runs in 20 to 80 % of cases. Here the error of a mean comes from batch means, the i-th request of both runs is
//! compared with itself where the load generator issued the same samples in the same order, and a run that is too
//! short for an honest interval is inconclusive, with the length that would do.

mod comparable;
mod conclusion;
mod figure;
mod history;
mod interval;
mod metric;
mod noise;
mod pairs;
mod repeats;
mod sentences;

use run_statistics::{mean, percentile};
use serde::Serialize;

pub use comparable::{Mismatch, Severity};
pub use conclusion::{CERTAIN_HALF_WIDTHS, CompareOptions, Conclusion, Difference, FEWEST_INDEPENDENT};
pub use figure::{ComparedFigure, RatioInterval};
pub use history::{History, HistoryFigure, LevelChange, history};
pub use interval::{LogRatio, Method, of_runs, paired, quantile, two_samples};
pub use metric::Metric;
pub use repeats::compare_repeats;

use crate::bound::Diagnosis;
use crate::input::{Column, Run, Span};
use crate::window::SteadyWindow;
use figure::{Draft, Family, Gap};

/// Quantiles that are shown along with the means.
const QUANTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")];

/// A run with what was found out about it.
#[derive(Debug, Clone, Copy)]
pub struct ComparedRun<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its steady window.
    pub window: &'a SteadyWindow,
    /// What bound it, if that was looked at.
    pub diagnosis: Option<&'a Diagnosis>,
    /// Other series to compare, such as power.
    pub others: &'a [OtherSeries],
}

/// A series that is compared but never decides.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherSeries {
    /// What it is; compared with the other run's series of this name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Smaller is better.
    pub lower_is_better: bool,
    /// Its values.
    pub column: Column,
}

/// What came out of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What sentences call the base.
    pub base: String,
    /// What sentences call the other.
    pub other: String,
    /// The decisive figures together.
    pub conclusion: Conclusion,
    /// In what the runs differ, or may.
    pub mismatches: Vec<Mismatch>,
    /// The i-th request of both runs is the same sample.
    pub paired: bool,
    /// Why latencies decide nothing.
    pub noise: Vec<String>,
    /// Means that decide.
    pub decisive: Vec<ComparedFigure>,
    /// Figures that are shown; they never decide.
    pub others: Vec<ComparedFigure>,
    /// Runs on each side.
    pub runs: usize,
}

impl Comparison {
    /// Whether a figure regressed.
    pub fn has_regressed(&self) -> bool {
        self.conclusion == Conclusion::Regressed
    }

    /// Whether a figure was left undecided.
    pub fn is_undecided(&self) -> bool {
        self.decisive
            .iter()
            .any(|figure| figure.conclusion == Conclusion::Inconclusive)
    }
}

/// Compares one run with another.
pub fn compare(base: ComparedRun<'_>, other: ComparedRun<'_>, options: &CompareOptions) -> Comparison {
    let mismatches = comparable::mismatches(base.run, other.run, &options.across);
    let mut comparison = Comparison {
        base: base.run.facts.name.clone(),
        other: other.run.facts.name.clone(),
        conclusion: Conclusion::NotComparable,
        paired: pairs::issued_alike(base.run, other.run),
        mismatches,
        noise: Vec::new(),
        decisive: Vec::new(),
        others: Vec::new(),
        runs: 1,
    };
    if comparison.is_refused() {
        return comparison;
    }
    comparison.noise = noise::reasons(&base, &other);
    let paired = comparison.paired;
    let scenario = base.run.facts.scenario;
    let metrics = Metric::DECISIVE
        .into_iter()
        .filter(|metric| metric.applies_to(scenario));
    let decisive = metrics
        .map(|metric| mean_of(metric, &base, &other, paired))
        .collect();
    let latencies = Metric::LATENCIES
        .into_iter()
        .filter(|metric| metric.applies_to(scenario));
    let mut shown: Vec<Draft> = latencies
        .flat_map(|metric| QUANTILES.map(|(q, name)| quantile_of(metric, (q, name), &base, &other, paired)))
        .collect();
    shown.extend(
        base.others
            .iter()
            .filter_map(|series| other_series(series, &base, &other)),
    );
    comparison.conclude(decisive, shown, options);
    comparison
}

impl Comparison {
    fn is_refused(&self) -> bool {
        self.mismatches
            .iter()
            .any(|mismatch| mismatch.severity == Severity::Refuse)
    }

    /// Adjusts both families, lets noise overrule latencies, and puts the decisive figures together.
    fn conclude(&mut self, decisive: Vec<Draft>, shown: Vec<Draft>, options: &CompareOptions) {
        self.decisive = figure::finish(decisive, Family::Holm, options);
        self.others = figure::finish(shown, Family::BenjaminiHochberg, options);
        if !self.noise.is_empty() {
            let latencies = self
                .decisive
                .iter_mut()
                .chain(&mut self.others)
                .filter(|figure| figure.unit == "s");
            latencies.for_each(|figure| figure.overrule("noisy host"));
        }
        self.conclusion = together(&self.decisive);
    }
}

/// One regression makes a regression; without any, one improvement an improvement; then one open question leaves the
/// whole open.
fn together(decisive: &[ComparedFigure]) -> Conclusion {
    let any = |conclusion: Conclusion| decisive.iter().any(|figure| figure.conclusion == conclusion);
    [
        Conclusion::Regressed,
        Conclusion::Improved,
        Conclusion::Inconclusive,
        Conclusion::NoDifference,
    ]
    .into_iter()
    .find(|conclusion| any(*conclusion))
    .unwrap_or(Conclusion::NotComparable)
}

/// The stretches of both runs for a metric, or why they cannot be compared in it.
fn spans(metric: Metric, base: &ComparedRun<'_>, other: &ComparedRun<'_>) -> Result<(Span, Span), Gap> {
    for compared in [base, other] {
        if metric.is_latency() && compared.diagnosis.is_some_and(Diagnosis::is_bound_by_client) {
            let name = &compared.run.facts.name;
            return Err(Gap::NotComparable(format!("{name} was bound by its client")));
        }
    }
    let span = |compared| metric::span(metric, compared).map_err(Gap::NotComparable);
    Ok((span(base)?, span(other)?))
}

fn mean_of(metric: Metric, base: &ComparedRun<'_>, other: &ComparedRun<'_>, paired: bool) -> Draft {
    let spans = spans(metric, base, other);
    let value = |compared: &ComparedRun<'_>, span: Span| match metric.is_latency() {
        true => mean(&metric::latencies(metric, compared.run, span)),
        false => mean(&metric::tokens_per_second(compared.run, span).ok()?),
    };
    let (base_value, other_value) = match &spans {
        Ok((a, b)) => (value(base, *a), value(other, *b)),
        Err(_) => (None, None),
    };
    Draft {
        name: metric.name().to_owned(),
        unit: metric.unit().to_owned(),
        lower_is_better: metric.is_latency(),
        base: base_value,
        other: other_value,
        ratio: spans.and_then(|(a, b)| {
            let sides = ((base.run, a), (other.run, b));
            if metric.is_latency() {
                latency_ratio(metric, sides, paired)
            } else {
                throughput_ratio(sides, paired)
            }
        }),
    }
}

type Sides<'a> = ((&'a Run, Span), (&'a Run, Span));

fn latency_ratio(metric: Metric, (base, other): Sides<'_>, paired: bool) -> Result<LogRatio, Gap> {
    if paired {
        let (a, b) = pairs::latencies(metric, base, other);
        return interval::paired(&a, &b).ok_or_else(|| {
            Gap::TooLittle(format!(
                "only {} pairs of requests have it in both windows",
                a.len()
            ))
        });
    }
    let a = metric::latencies(metric, base.0, base.1);
    let b = metric::latencies(metric, other.0, other.1);
    interval::two_samples(&a, &b)
        .ok_or_else(|| Gap::TooLittle(format!("only {} and {} requests have it", a.len(), b.len())))
}

/// Paired by time since the first query where arrivals follow the same schedule; otherwise the faster run is
/// elsewhere in its work at the same time.
fn throughput_ratio((base, other): Sides<'_>, paired: bool) -> Result<LogRatio, Gap> {
    let too_short = || Gap::TooLittle("fewer than 16 stretches of time with tokens".to_owned());
    if paired && base.0.facts.scenario.is_scheduled() {
        let (a, b) = pairs::common_phase(base, other).ok_or_else(too_short)?;
        let a = metric::tokens_per_second(base.0, a).map_err(Gap::NotComparable)?;
        let b = metric::tokens_per_second(other.0, b).map_err(Gap::NotComparable)?;
        let shared = a.len().min(b.len());
        let bins = pairs::bins(&[&a[..shared], &b[..shared]]).ok_or_else(too_short)?;
        return interval::paired(&bins[0], &bins[1]).ok_or_else(too_short);
    }
    let a = metric::tokens_per_second(base.0, base.1).map_err(Gap::NotComparable)?;
    let b = metric::tokens_per_second(other.0, other.1).map_err(Gap::NotComparable)?;
    let bins = pairs::bins(&[&a, &b]).ok_or_else(too_short)?;
    interval::two_samples(&bins[0], &bins[1]).ok_or_else(too_short)
}

fn quantile_of(
    metric: Metric,
    (q, name): (f64, &str),
    base: &ComparedRun<'_>,
    other: &ComparedRun<'_>,
    paired: bool,
) -> Draft {
    let values = spans(metric, base, other).map(|(a, b)| {
        if paired {
            pairs::latencies(metric, (base.run, a), (other.run, b))
        } else {
            (
                metric::latencies(metric, base.run, a),
                metric::latencies(metric, other.run, b),
            )
        }
    });
    let exact = |values: &[f64]| percentile::linear(&percentile::sorted(values), q);
    let (base_value, other_value) = match &values {
        Ok((a, b)) => (exact(a), exact(b)),
        Err(_) => (None, None),
    };
    Draft {
        name: format!("{name} of {}", metric.name()),
        unit: metric.unit().to_owned(),
        lower_is_better: true,
        base: base_value,
        other: other_value,
        ratio: values.and_then(|(a, b)| {
            interval::quantile(&a, &b, q, paired).ok_or_else(|| {
                Gap::TooLittle(format!(
                    "{} and {} requests are too few for {name}",
                    a.len(),
                    b.len()
                ))
            })
        }),
    }
}

fn other_series(series: &OtherSeries, base: &ComparedRun<'_>, other: &ComparedRun<'_>) -> Option<Draft> {
    let counterpart = other
        .others
        .iter()
        .find(|counterpart| counterpart.name == series.name)?;
    let values = |compared: &ComparedRun<'_>, series: &OtherSeries| -> Option<Vec<f64>> {
        let span = compared.window.span.or(compared.window.whole)?;
        Some(series.column.values(compared.run.seconds.inside(span)).collect())
    };
    let (a, b) = (values(base, series)?, values(other, counterpart)?);
    Some(Draft {
        name: series.name.clone(),
        unit: series.unit.clone(),
        lower_is_better: series.lower_is_better,
        base: mean(&a),
        other: mean(&b),
        ratio: interval::two_samples(&a, &b).ok_or_else(|| {
            Gap::TooLittle("fewer than 16 seconds, or values that are not above 0".to_owned())
        }),
    })
}
