//! Evaluates an expression tree over a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ExpressionError;
use super::instant::At;
use super::tree::{Aggregation, Kind, Node, Operator, Selector};
use super::vector;
use crate::derive::align::{self, Combine, Points};
use crate::derive::estimate::Estimator;
use crate::derive::series::{Builder, phase_at, sort};
use crate::derive::{counter, histogram};
use run_model::labels::{self, Labels};
use run_model::{RunData, SeriesData, SeriesDef};

/// An intermediate series of the evaluation.
#[derive(Debug, Clone)]
struct Track<'a> {
    /// Label text that identifies it.
    labels: Arc<str>,
    /// Source of its endpoint, simulated mark and phases.
    origin: &'a SeriesData,
    times: Vec<i64>,
    values: Vec<f64>,
}

enum Value<'a> {
    Number(f64),
    Tracks(Vec<Track<'a>>),
}

pub(super) fn evaluate(
    node: &Node,
    run: &RunData,
    name: &str,
    unit: &str,
) -> Result<Vec<SeriesData>, ExpressionError> {
    let Value::Tracks(tracks) = value(node, run)? else {
        return Err(error(
            node,
            "the expression is a number: it names no series, so there are no times for it",
        ));
    };
    let mut out: Vec<SeriesData> = tracks
        .into_iter()
        .map(|track| {
            let mut builder = Builder::gauge(name, track.labels, unit, &track.origin.def);
            for (&t, &v) in track.times.iter().zip(&track.values) {
                builder.push(t, v, &phase_of(track.origin, t));
            }
            builder.finish()
        })
        .collect();
    sort(&mut out);
    Ok(out)
}

/// Like [`evaluate`], for an expression with parts that exist at an instant only: its result at the time of every sample
/// of the series that it selects. A sample is current until the next one is overdue.
pub(super) fn evaluate_instants(
    node: &Node,
    run: &RunData,
    name: &str,
    unit: &str,
) -> Result<Vec<SeriesData>, ExpressionError> {
    let names = node.names();
    let selected: Vec<&SeriesData> = run
        .series
        .iter()
        .filter(|series| names.contains(&*series.def.metric_name))
        .collect();
    let Some(&origin) = selected.first() else {
        let names: Vec<&str> = names.into_iter().collect();
        return Err(error(
            node,
            format!("the run holds no series named {}", names.join(" or ")),
        ));
    };
    let points: Vec<Points<'_>> = selected
        .iter()
        .map(|s| (&s.timestamps_ns[..], &s.values[..]))
        .collect();
    let lookback_ns = align::longest_step_of(&points);
    let mut builders: BTreeMap<Labels, Builder> = BTreeMap::new();
    for at_ns in align::union(&points) {
        let at = At {
            run,
            at_ns,
            lookback_ns,
        };
        let Ok(vector::Value::Vector(found)) = at.value(node) else {
            continue;
        };
        for (labels, value) in found {
            let text = labels::write(&labels);
            let builder = builders
                .entry(labels)
                .or_insert_with(|| Builder::gauge(name, text, unit, &origin.def));
            builder.push(at_ns, value, &phase_of(origin, at_ns));
        }
    }
    let mut out: Vec<SeriesData> = builders.into_values().map(Builder::finish).collect();
    sort(&mut out);
    Ok(out)
}

fn phase_of(origin: &SeriesData, at_ns: i64) -> Arc<str> {
    let after = origin.timestamps_ns.partition_point(|t| *t <= at_ns);
    phase_at(origin, after.saturating_sub(1))
}

fn error(node: &Node, reason: impl Into<String>) -> ExpressionError {
    ExpressionError {
        column: node.column,
        reason: reason.into(),
    }
}

fn value<'a>(node: &Node, run: &'a RunData) -> Result<Value<'a>, ExpressionError> {
    Ok(match &node.kind {
        Kind::Number(n) => Value::Number(*n),
        Kind::Select(selector) => Value::Tracks(
            found(node, selector, run)?
                .into_iter()
                .map(|s| track(s, s.timestamps_ns.clone(), s.values.clone()))
                .collect(),
        ),
        Kind::Rate(selector) => Value::Tracks(stepped(node, selector, run, counter::Step::per_second)?),
        Kind::Increase(selector) => Value::Tracks(stepped(node, selector, run, |s| Some(s.increase))?),
        Kind::Quantile(q, selector) => Value::Tracks(quantiles(node, *q, selector, run)?),
        Kind::Aggregate(Aggregation::Sum, _, inner) => together(value(inner, run)?, Combine::Sum),
        Kind::Aggregate(_, _, inner) => together(value(inner, run)?, Combine::Mean),
        Kind::Negate(inner) => match value(inner, run)? {
            Value::Number(n) => Value::Number(-n),
            Value::Tracks(mut tracks) => {
                tracks
                    .iter_mut()
                    .flat_map(|t| &mut t.values)
                    .for_each(|v| *v = -*v);
                Value::Tracks(tracks)
            }
        },
        Kind::Binary(operator, _, left, right) => {
            return binary(node, *operator, value(left, run)?, value(right, run)?);
        }
        Kind::Window(..) | Kind::HistogramQuantile(..) | Kind::Absent(_) => {
            return Err(error(node, "this function has a value at an instant only"));
        }
    })
}

fn track(origin: &SeriesData, times: Vec<i64>, values: Vec<f64>) -> Track<'_> {
    Track {
        labels: Arc::clone(&origin.def.labels),
        origin,
        times,
        values,
    }
}

fn matches(def: &SeriesDef, selector: &Selector) -> bool {
    selector.labels.is_empty() || selector.fits(&labels::parse(&def.labels))
}

fn found<'a>(
    node: &Node,
    selector: &Selector,
    run: &'a RunData,
) -> Result<Vec<&'a SeriesData>, ExpressionError> {
    let named: Vec<&SeriesData> = run
        .series
        .iter()
        .filter(|s| &*s.def.metric_name == selector.name.as_str())
        .collect();
    if named.is_empty() {
        return Err(error(
            node,
            format!("the run holds no series named {}", selector.name),
        ));
    }
    let chosen: Vec<&SeriesData> = named.into_iter().filter(|s| matches(&s.def, selector)).collect();
    if chosen.is_empty() {
        return Err(error(
            node,
            format!("no series of {} has these labels", selector.name),
        ));
    }
    Ok(chosen)
}

fn stepped<'a>(
    node: &Node,
    selector: &Selector,
    run: &'a RunData,
    of: impl Fn(&counter::Step) -> Option<f64>,
) -> Result<Vec<Track<'a>>, ExpressionError> {
    let series = found(node, selector, run)?;
    Ok(series
        .into_iter()
        .map(|s| {
            let steps = counter::steps(&s.timestamps_ns, &s.values);
            let (times, values) = steps
                .iter()
                .filter_map(|step| Some((step.end_ns, of(step)?)))
                .unzip();
            track(s, times, values)
        })
        .collect())
}

fn quantiles<'a>(
    node: &Node,
    q: f64,
    selector: &Selector,
    run: &'a RunData,
) -> Result<Vec<Track<'a>>, ExpressionError> {
    let count = format!("{}_count", selector.name);
    let mut out = Vec::new();
    for histogram in histogram::collect(run).iter().filter(|h| h.name == selector.name) {
        let origin = run.series.iter().find(|s| {
            *s.def.metric_name == *count
                && s.def.labels == histogram.origin.labels
                && s.def.endpoint_url == histogram.origin.endpoint_url
        });
        let Some(origin) = origin.filter(|s| matches(&s.def, selector)) else {
            continue;
        };
        let intervals = histogram.intervals();
        let estimator = Estimator::learn(&histogram.bounds, &intervals);
        let (times, values) = intervals
            .iter()
            .filter_map(|i| Some((i.end_ns, estimator.quantile(i, q)?)))
            .unzip();
        out.push(track(origin, times, values));
    }
    if out.is_empty() {
        return Err(error(
            node,
            format!("the run holds no histogram {} with these labels", selector.name),
        ));
    }
    Ok(out)
}

/// Combines all series into one, without labels.
fn together(value: Value<'_>, how: Combine) -> Value<'_> {
    match value {
        Value::Number(n) => Value::Number(n),
        Value::Tracks(tracks) => {
            let points: Vec<Points<'_>> = tracks.iter().map(|t| (&t.times[..], &t.values[..])).collect();
            let (times, values) = align::combine(&points, how);
            let one = tracks.first().map(|t| Track {
                labels: Arc::from("{}"),
                origin: t.origin,
                times,
                values,
            });
            Value::Tracks(one.into_iter().collect())
        }
    }
}

fn binary<'a>(
    node: &Node,
    operator: Operator,
    left: Value<'a>,
    right: Value<'a>,
) -> Result<Value<'a>, ExpressionError> {
    let each = |mut tracks: Vec<Track<'a>>, of: &dyn Fn(f64) -> f64| {
        tracks
            .iter_mut()
            .flat_map(|t| &mut t.values)
            .for_each(|v| *v = of(*v));
        Value::Tracks(tracks)
    };
    let (left, right) = match (left, right) {
        (Value::Number(l), Value::Number(r)) => return Ok(Value::Number(operator.apply(l, r))),
        (Value::Tracks(l), Value::Number(r)) => return Ok(each(l, &|v| operator.apply(v, r))),
        (Value::Number(l), Value::Tracks(r)) => return Ok(each(r, &|v| operator.apply(l, v))),
        (Value::Tracks(l), Value::Tracks(r)) => (l, r),
    };
    let mut out = Vec::new();
    if let [only] = &right[..] {
        out.extend(left.iter().map(|l| pair(operator, l, only, &l.labels)));
    } else if let [only] = &left[..] {
        out.extend(right.iter().map(|r| pair(operator, only, r, &r.labels)));
    } else {
        for l in &left {
            let same = |r: &&Track<'_>| {
                r.labels == l.labels && r.origin.def.endpoint_url == l.origin.def.endpoint_url
            };
            out.extend(right.iter().find(same).map(|r| pair(operator, l, r, &l.labels)));
        }
    }
    if out.is_empty() {
        return Err(error(
            node,
            "no series of the left side has the labels of one of the right side; use sum() or mean()",
        ));
    }
    Ok(Value::Tracks(out))
}

/// Computes values at every time of the left side, with the right side's latest value unless that is too old.
fn pair<'a>(operator: Operator, left: &Track<'a>, right: &Track<'a>, labels: &Arc<str>) -> Track<'a> {
    let limit = align::median_interval_ns(&right.times).map_or(i64::MAX, align::longest_step_ns);
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let mut next = 0;
    for (&t, &l) in left.times.iter().zip(&left.values) {
        while right.times.get(next).is_some_and(|&at| at <= t) {
            next += 1;
        }
        let Some(latest) = next.checked_sub(1).filter(|i| t - right.times[*i] <= limit) else {
            continue;
        };
        times.push(t);
        values.push(operator.apply(l, right.values[latest]));
    }
    Track {
        labels: Arc::clone(labels),
        origin: left.origin,
        times,
        values,
    }
}
