//! The user's own metrics: a name, an expression, a unit. They are kept among the facts of the run, so that whoever
//! reads it later makes the same series.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expression::{Expression, ExpressionError};
use super::series;
use run_model::EventKind;
use run_model::{EventRow, Manifest, RunData, SeriesData, Severity};

/// What the facts' keys begin with.
const FACT: &str = "custom_metric.";

/// A metric of the user's own.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomMetric {
    /// Name of the resulting series.
    pub name: String,
    /// What it is made of.
    pub expression: Expression,
    /// Unit in base units; empty when unknown.
    pub unit: String,
}

/// Why a metric cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomMetricError {
    /// Not a name that a metric may have.
    #[error("{0:?} is not a metric name: letters, digits, _ and :, and no digit first")]
    Name(String),
    /// The expression cannot be read.
    #[error("custom metric {name}: {source}")]
    Expression {
        /// Of this metric.
        name: String,
        /// Where and why.
        source: ExpressionError,
    },
}

impl CustomMetric {
    /// Reads the expression.
    ///
    /// # Errors
    /// See [`CustomMetricError`].
    pub fn new(
        name: impl Into<String>,
        expression: &str,
        unit: impl Into<String>,
    ) -> Result<Self, CustomMetricError> {
        let name = name.into();
        let fits = |(at, c): (usize, char)| {
            c.is_ascii_alphabetic() || c == '_' || c == ':' || (at > 0 && c.is_ascii_digit())
        };
        if name.is_empty() || !name.chars().enumerate().all(fits) {
            return Err(CustomMetricError::Name(name));
        }
        match Expression::parse(expression) {
            Ok(expression) => Ok(Self {
                name,
                expression,
                unit: unit.into(),
            }),
            Err(source) => Err(CustomMetricError::Expression { name, source }),
        }
    }

    /// The metrics that a run's facts tell. What cannot be read any more is left out; it was read when it was kept.
    pub fn of_manifest(manifest: &Manifest) -> Vec<Self> {
        let named = manifest.facts.iter().filter_map(|(key, expression)| {
            let name = key.strip_prefix(FACT)?.strip_suffix(".expression")?;
            let unit = manifest.facts.get(&format!("{FACT}{name}.unit"));
            Self::new(name, expression, unit.map_or("", String::as_str)).ok()
        });
        named.collect()
    }

    /// Adds what [`CustomMetric::of_manifest`] reads.
    pub fn add_facts(&self, facts: &mut BTreeMap<String, String>) {
        let Self { name, unit, .. } = self;
        facts.insert(format!("{FACT}{name}.expression"), self.expression.to_string());
        if !unit.is_empty() {
            facts.insert(format!("{FACT}{name}.unit"), unit.clone());
        }
    }
}

/// The series of the metrics, and an event for each one that this run has no series for.
pub fn evaluate(run: &RunData, custom: &[CustomMetric]) -> (Vec<SeriesData>, Vec<EventRow>) {
    let (mut all, mut events) = (Vec::new(), Vec::new());
    for metric in custom {
        match metric.expression.evaluate(run, &metric.name, &metric.unit) {
            Ok(series) => all.extend(series.into_iter().filter(|s| !s.timestamps_ns.is_empty())),
            Err(error) => events.push(EventRow {
                timestamp_ns: run.manifest.started_ns,
                end_ns: None,
                kind: EventKind::CustomMetricFailed,
                severity: Severity::Warning,
                source: "derived".into(),
                message: Arc::from(format!("custom metric {}: {error}", metric.name)),
                attributes: Arc::from(
                    serde_json::json!({ "metric_name": metric.name, "column": error.column }).to_string(),
                ),
            }),
        }
    }
    series::sort(&mut all);
    (all, events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_comes_back_from_the_facts() {
        let metrics = [
            CustomMetric::new("mine:a", "rate(x_total) / 2", "tokens").unwrap(),
            CustomMetric::new("plain", "x", "").unwrap(),
        ];
        let mut manifest = Manifest::default();
        for metric in &metrics {
            metric.add_facts(&mut manifest.facts);
        }
        assert_eq!(CustomMetric::of_manifest(&manifest), metrics);
    }

    #[test]
    fn mistakes_are_named() {
        for (name, expression, part) in [
            ("2x", "x", "2x"),
            ("", "x", "\"\""),
            ("a-b", "x", "a-b"),
            ("ok", "rate(", "custom metric ok: column"),
        ] {
            let error = CustomMetric::new(name, expression, "").unwrap_err().to_string();
            assert!(error.contains(part), "{name} {expression}: {error}");
        }
    }
}
