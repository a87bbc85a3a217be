//! User-defined metrics: a name, an expression, a unit. They are stored in the run's facts, so that later
//! readers derive the same series.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expression::{Expression, ExpressionError};
use super::series;
use run_model::EventKind;
use run_model::{EventRow, Manifest, RunData, SeriesData, Severity};

/// Prefix of the facts' keys.
const FACT: &str = "custom_metric.";

/// A user-defined metric.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomMetric {
    /// Name of the resulting series.
    pub name: String,
    /// The expression that defines it.
    pub expression: Expression,
    /// Unit in base units; empty when unknown.
    pub unit: String,
}

/// Why a metric definition is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomMetricError {
    /// Not a valid metric name.
    #[error("{0:?} is not a metric name: letters, digits, _ and :, and no digit first")]
    Name(String),
    /// The expression is invalid.
    #[error("custom metric {name}: {source}")]
    Expression {
        /// Name of the metric.
        name: String,
        /// Position and reason.
        source: ExpressionError,
    },
}

impl CustomMetric {
    /// Parses the expression.
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

    /// Returns the metrics in a run's facts. Invalid ones are skipped; they were valid when they were stored.
    pub fn of_manifest(manifest: &Manifest) -> Vec<Self> {
        let named = manifest.facts.iter().filter_map(|(key, expression)| {
            let name = key.strip_prefix(FACT)?.strip_suffix(".expression")?;
            let unit = manifest.facts.get(&format!("{FACT}{name}.unit"));
            Self::new(name, expression, unit.map_or("", String::as_str)).ok()
        });
        named.collect()
    }

    /// Adds the facts that [`CustomMetric::of_manifest`] reads.
    pub fn add_facts(&self, facts: &mut BTreeMap<String, String>) {
        let Self { name, unit, .. } = self;
        facts.insert(format!("{FACT}{name}.expression"), self.expression.to_string());
        if !unit.is_empty() {
            facts.insert(format!("{FACT}{name}.unit"), unit.clone());
        }
    }
}

/// Returns the series of the metrics, and an event for each metric without source series in this run.
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
