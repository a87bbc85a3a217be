//! Operators and aggregations over the series of one instant.

use std::collections::BTreeMap;

use run_model::labels::Labels;

use super::tree::{Aggregation, Grouping, Operator};

/// Series of a result: labels and value.
pub type InstantVector = Vec<(Labels, f64)>;

/// Why an expression has no result: what it needs was not recorded lately.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoData(pub String);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Vector(InstantVector),
}

/// Both sides as they came out: a side without data decides the result unless the operator can do without it.
pub(super) fn binary(
    operator: Operator,
    grouping: Option<&Grouping>,
    left: Result<Value, NoData>,
    right: Result<Value, NoData>,
) -> Result<Value, NoData> {
    if operator.is_set() {
        return set(operator, grouping, left.map(series), right.map(series)).map(Value::Vector);
    }
    let keep = |value: f64, l: f64, r: f64| {
        if operator.is_comparison() {
            operator.holds(l, r).then_some(value)
        } else {
            Some(operator.apply(l, r))
        }
    };
    Ok(match (left?, right?) {
        (Value::Number(l), Value::Number(r)) => Value::Number(operator.apply(l, r)),
        (Value::Vector(all), Value::Number(r)) => Value::Vector(
            all.into_iter()
                .filter_map(|(labels, l)| Some((labels, keep(l, l, r)?)))
                .collect(),
        ),
        (Value::Number(l), Value::Vector(all)) => Value::Vector(
            all.into_iter()
                .filter_map(|(labels, r)| Some((labels, keep(r, l, r)?)))
                .collect(),
        ),
        (Value::Vector(left), Value::Vector(right)) => {
            let (left, right) = (one_each(grouping, left)?, one_each(grouping, right)?);
            let pairs = left.into_iter().filter_map(|(key, (labels, l))| {
                let (_, r) = right.get(&key)?;
                let labels = if grouping.is_some() { key } else { labels };
                Some((labels, keep(l, l, *r)?))
            });
            Value::Vector(pairs.collect())
        }
    })
}

fn series(value: Value) -> InstantVector {
    match value {
        Value::Vector(found) => found,
        Value::Number(number) => vec![(Labels::new(), number)],
    }
}

fn key(grouping: Option<&Grouping>, labels: &Labels) -> Labels {
    grouping.map_or_else(|| labels.clone(), |grouping| grouping.of(labels))
}

/// The series of one side by the labels that are compared; two with the same ones have no single partner.
fn one_each(
    grouping: Option<&Grouping>,
    all: InstantVector,
) -> Result<BTreeMap<Labels, (Labels, f64)>, NoData> {
    let mut out = BTreeMap::new();
    for (labels, value) in all {
        let key = key(grouping, &labels);
        if out.insert(key, (labels, value)).is_some() {
            return Err(NoData(
                "several series of one side have the labels that are compared; use sum by (…) or on (…)"
                    .into(),
            ));
        }
    }
    Ok(out)
}

fn set(
    operator: Operator,
    grouping: Option<&Grouping>,
    left: Result<InstantVector, NoData>,
    right: Result<InstantVector, NoData>,
) -> Result<InstantVector, NoData> {
    let keys = |all: &InstantVector| -> Vec<Labels> {
        let mut keys: Vec<Labels> = all.iter().map(|(labels, _)| key(grouping, labels)).collect();
        keys.sort_unstable();
        keys
    };
    let is_in = |keys: &[Labels], labels: &Labels| keys.binary_search(&key(grouping, labels)).is_ok();
    Ok(match (operator, left, right) {
        (Operator::Or, Err(missing), Err(_)) => return Err(missing),
        (Operator::Or | Operator::Unless, Ok(only), Err(_)) | (Operator::Or, Err(_), Ok(only)) => only,
        (Operator::Or, Ok(mut left), Ok(right)) => {
            let known = keys(&left);
            left.extend(right.into_iter().filter(|(labels, _)| !is_in(&known, labels)));
            left
        }
        (_, left, right) => {
            let (mut left, known) = (left?, keys(&right?));
            left.retain(|(labels, _)| is_in(&known, labels) == (operator == Operator::And));
            left
        }
    })
}

pub(super) fn aggregate(how: Aggregation, grouping: Option<&Grouping>, all: &InstantVector) -> InstantVector {
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (labels, value) in all {
        let key = grouping.map_or_else(Labels::new, |grouping| grouping.of(labels));
        groups.entry(key).or_default().push(*value);
    }
    let reduce = |values: &[f64]| {
        let sum = || values.iter().sum::<f64>();
        match how {
            Aggregation::Sum => sum(),
            Aggregation::Mean | Aggregation::Average => sum() / values.len() as f64,
            Aggregation::Count => values.len() as f64,
            Aggregation::Minimum => values.iter().copied().fold(f64::NAN, f64::min),
            Aggregation::Maximum => values.iter().copied().fold(f64::NAN, f64::max),
        }
    };
    groups
        .into_iter()
        .map(|(labels, values)| (labels, reduce(&values)))
        .collect()
}

/// The quantile of classic histograms: linear inside a bucket, the last finite bound above it, as PromQL does.
pub(super) fn histogram_quantile(q: f64, all: &InstantVector) -> InstantVector {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (labels, value) in all {
        let mut labels = labels.clone();
        let bound = labels.remove("le").and_then(|text| text.parse::<f64>().ok());
        if let Some(bound) = bound.filter(|bound| !bound.is_nan()) {
            histograms.entry(labels).or_default().push((bound, *value));
        }
    }
    histograms
        .into_iter()
        .map(|(labels, mut buckets)| {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let value = quantile_of(q, &buckets);
            (labels, value)
        })
        .collect()
}

fn quantile_of(q: f64, buckets: &[(f64, f64)]) -> f64 {
    let Some((&(bound, _), rest)) = buckets.split_last() else {
        return f64::NAN;
    };
    // Counts of parts of a page need not rise: a bucket holds at least what the one before holds.
    let mut highest = 0.0_f64;
    let counts: Vec<f64> = buckets
        .iter()
        .map(|(_, count)| {
            highest = highest.max(*count);
            highest
        })
        .collect();
    if bound != f64::INFINITY || rest.is_empty() || highest <= 0.0 {
        return f64::NAN;
    }
    let rank = q * highest;
    let at = counts[..rest.len()].iter().position(|count| *count >= rank);
    let Some(at) = at else {
        return rest[rest.len() - 1].0;
    };
    let upper = buckets[at].0;
    let (lower, below) = match at.checked_sub(1) {
        Some(before) => (buckets[before].0, counts[before]),
        None if upper <= 0.0 => return upper,
        None => (0.0, 0.0),
    };
    let inside = counts[at] - below;
    if inside <= 0.0 {
        return lower;
    }
    lower + (upper - lower) * (rank - below) / inside
}
