//! Evaluates an expression at one instant, as PromQL does.

use std::time::Duration;

use run_model::labels::{self, Labels};
use run_model::{RunData, SeriesData};

use super::tree::{Kind, Node, Over, Selector, Wanted};
use super::vector::{self, InstantVector, NoData, Value};
use crate::derive::counter;

/// An instant of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) run: &'a RunData,
    pub(super) at_ns: i64,
    /// Age from which a sample is too old to be current.
    pub(super) lookback_ns: i64,
}

impl At<'_> {
    pub(super) fn value(&self, node: &Node) -> Result<Value, NoData> {
        Ok(match &node.kind {
            Kind::Number(number) => Value::Number(*number),
            Kind::Select(selector) => Value::Vector(self.newest(selector)?),
            Kind::Window(over, selector, window_ns) => {
                Value::Vector(self.windows(*over, selector, *window_ns)?)
            }
            Kind::HistogramQuantile(q, inner) => {
                Value::Vector(vector::histogram_quantile(*q, &self.vector(inner)?))
            }
            Kind::Aggregate(how, grouping, inner) => {
                Value::Vector(vector::aggregate(*how, grouping.as_ref(), &self.vector(inner)?))
            }
            Kind::Absent(inner) => Value::Vector(match self.vector(inner) {
                Ok(found) if !found.is_empty() => InstantVector::new(),
                _ => vec![(absent_labels(inner), 1.0)],
            }),
            Kind::Negate(inner) => match self.value(inner)? {
                Value::Number(number) => Value::Number(-number),
                Value::Vector(found) => Value::Vector(found.into_iter().map(|(l, v)| (l, -v)).collect()),
            },
            Kind::Binary(operator, grouping, left, right) => {
                let (left, right) = (self.value(left), self.value(right));
                vector::binary(*operator, grouping.as_ref(), left, right)?
            }
            Kind::Rate(_) | Kind::Increase(_) | Kind::Quantile(..) => {
                return Err(NoData("this function has no value at an instant".into()));
            }
        })
    }

    fn vector(&self, node: &Node) -> Result<InstantVector, NoData> {
        self.value(node).map(|value| match value {
            Value::Vector(found) => found,
            Value::Number(number) => vec![(Labels::new(), number)],
        })
    }

    fn selected(&self, selector: &Selector) -> impl Iterator<Item = (Labels, &SeriesData)> {
        self.run
            .series
            .iter()
            .filter(|series| *series.def.metric_name == *selector.name)
            .map(|series| (labels_of(series), series))
            .filter(|(labels, _)| selector.fits(labels))
    }

    fn newest(&self, selector: &Selector) -> Result<InstantVector, NoData> {
        let oldest_ns = self.at_ns.saturating_sub(self.lookback_ns);
        let found: InstantVector = self
            .selected(selector)
            .filter_map(|(labels, series)| {
                let last = series
                    .timestamps_ns
                    .partition_point(|t| *t <= self.at_ns)
                    .checked_sub(1)?;
                (series.timestamps_ns[last] > oldest_ns).then(|| (labels, series.values[last]))
            })
            .collect();
        if found.is_empty() {
            return Err(self.nothing(selector, "no sample", self.lookback_ns));
        }
        Ok(found)
    }

    fn windows(&self, over: Over, selector: &Selector, window_ns: i64) -> Result<InstantVector, NoData> {
        let from_ns = self.at_ns.saturating_sub(window_ns);
        let found: InstantVector = self
            .selected(selector)
            .filter_map(|(labels, series)| {
                let first = series.timestamps_ns.partition_point(|t| *t <= from_ns);
                let end = series.timestamps_ns.partition_point(|t| *t <= self.at_ns);
                let inside = first..end.max(first);
                let value = reduce(
                    over,
                    &series.timestamps_ns[inside.clone()],
                    &series.values[inside],
                );
                Some((labels, value?))
            })
            .collect();
        if found.is_empty() {
            let what = match over {
                Over::Rate | Over::Increase | Over::Delta => "not two samples",
                _ => "no sample",
            };
            return Err(self.nothing(selector, what, window_ns));
        }
        Ok(found)
    }

    fn nothing(&self, selector: &Selector, what: &str, window_ns: i64) -> NoData {
        let with = if selector.labels.is_empty() {
            ""
        } else {
            " with these labels"
        };
        let window = Duration::from_nanos(u64::try_from(window_ns).unwrap_or(0));
        NoData(format!(
            "{what} of {}{with} in {}",
            selector.name,
            duration_text::Shown(window)
        ))
    }
}

fn reduce(over: Over, times: &[i64], values: &[f64]) -> Option<f64> {
    let first_to_last = || {
        let mut finite = values.iter().filter(|v| v.is_finite());
        let first = finite.next()?;
        Some(finite.next_back()? - first)
    };
    let increase = || {
        let steps = counter::steps(times, values);
        let (first, last) = (steps.first()?, steps.last()?);
        let secs = (last.end_ns - first.start_ns) as f64 / 1e9;
        Some((steps.iter().map(|step| step.increase).sum::<f64>(), secs))
    };
    let count = values.len() as f64;
    match over {
        Over::Rate => increase()
            .filter(|(_, secs)| *secs > 0.0)
            .map(|(sum, secs)| sum / secs),
        Over::Increase => increase().map(|(sum, _)| sum),
        Over::Delta => first_to_last(),
        _ if values.is_empty() => None,
        Over::Average => Some(values.iter().sum::<f64>() / count),
        Over::Sum => Some(values.iter().sum()),
        Over::Count => Some(count),
        Over::Minimum => values.iter().copied().reduce(f64::min),
        Over::Maximum => values.iter().copied().reduce(f64::max),
    }
}

/// The labels of a series, with `instance` as Prometheus sets it: host and port of the endpoint.
fn labels_of(series: &SeriesData) -> Labels {
    let mut labels = labels::parse(&series.def.labels);
    let authority = series.def.endpoint_url.split_once("://").map(|(_, rest)| rest);
    let instance = authority.and_then(|rest| rest.split('/').next());
    if let Some(instance) = instance.filter(|text| !text.is_empty()) {
        labels
            .entry("instance".to_owned())
            .or_insert_with(|| instance.to_owned());
    }
    labels
}

/// The labels of what is absent: those that the selector asks for by `=`.
fn absent_labels(node: &Node) -> Labels {
    let matchers = node.selector().map_or(&[][..], |selector| &selector.labels[..]);
    matchers
        .iter()
        .filter(|matcher| !matcher.negated)
        .filter_map(|matcher| match &matcher.wanted {
            Wanted::Text(text) => Some((matcher.name.clone(), text.clone())),
            Wanted::Pattern(_) => None,
        })
        .collect()
}
