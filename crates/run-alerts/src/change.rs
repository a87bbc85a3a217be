//! A change of an alert's state, as the record, the log and receivers get it.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert_delivery::Notice;
use jiff::Timestamp;
use run_diagnosis::alerts::{AlertState, Labels, Transition};
use vllm_metrics::{EventKind, EventRow, Severity};

use crate::rules::{Rule, RuleSeverity};
use crate::template::shown;

/// A change of the state of one alert or, without labels, of a rule as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The rule.
    pub rule: String,
    /// How bad it is.
    pub severity: RuleSeverity,
    /// The transition; its labels are those of the series.
    pub transition: Transition,
    /// The rule's summary for this alert.
    pub summary: Option<String>,
    /// Whether the series come from a simulator.
    pub simulated: bool,
    labels: BTreeMap<String, String>,
    runbook: Option<String>,
}

impl Change {
    pub(crate) fn new(rule: &Rule, transition: Transition, simulated: bool) -> Self {
        let labels = transition.labels.clone().unwrap_or_default();
        let summary = rule
            .summary
            .as_ref()
            .zip(transition.value)
            .map(|(summary, value)| summary.render(&labels, value));
        Self {
            rule: rule.name.clone(),
            severity: rule.severity,
            summary,
            simulated,
            labels: rule.labels.clone(),
            runbook: rule.runbook.clone(),
            transition,
        }
    }

    /// Whether an alert begins to fire.
    pub fn begins_to_fire(&self) -> bool {
        self.transition.labels.is_some() && self.transition.to == AlertState::Firing
    }

    /// Whether receivers are told: an alert that begins or ceases to fire.
    pub fn is_notified(&self) -> bool {
        let Transition { from, to, labels, .. } = &self.transition;
        labels.is_some() && (*to == AlertState::Firing || *from == AlertState::Firing)
    }

    /// The change in one line.
    pub fn message(&self) -> String {
        let Transition {
            from,
            to,
            labels,
            value,
            because,
            ..
        } = &self.transition;
        let mut text = format!("alert {}", self.rule);
        if let Some(labels) = labels.as_ref().filter(|labels| !labels.is_empty()) {
            let named: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
            text += &format!("{{{}}}", named.join(","));
        }
        text += match (from, to) {
            (_, AlertState::Pending) => " is pending",
            (_, AlertState::Firing) => " fires",
            (_, AlertState::NoData) => " has no data",
            (AlertState::NoData, AlertState::Inactive) => " has data again",
            (AlertState::Firing, AlertState::Inactive) => " is resolved",
            (_, AlertState::Inactive) => " is inactive again",
        };
        if let Some(because) = because {
            text += &format!(": {because}");
        } else if let Some(summary) = self.summary.as_ref().filter(|_| *to != AlertState::Inactive) {
            text += &format!(": {summary}");
        } else if let Some(value) = value.filter(|_| *to != AlertState::Inactive) {
            text += &format!(", value {}", shown(value));
        }
        if self.simulated {
            text += " [SIMULATED]";
        }
        text
    }

    /// The change as an event of the record.
    pub fn event(&self) -> EventRow {
        let Transition {
            at_ns,
            from,
            to,
            labels,
            value,
            because,
        } = &self.transition;
        let severity = match (to, self.severity) {
            (AlertState::Firing, RuleSeverity::Info) => Severity::Info,
            (AlertState::Firing, RuleSeverity::Warning) | (AlertState::NoData, _) => Severity::Warning,
            (AlertState::Firing, RuleSeverity::Critical) => Severity::Error,
            _ => Severity::Info,
        };
        let attributes = serde_json::json!({
            "rule": self.rule,
            "severity": self.severity,
            "from": from,
            "to": to,
            "labels": labels,
            "value": value,
            "because": because,
            "summary": self.summary,
        });
        EventRow {
            timestamp_ns: *at_ns,
            end_ns: None,
            kind: EventKind::Alert,
            severity,
            source: if self.simulated {
                "alerts-simulated"
            } else {
                "alerts"
            }
            .into(),
            message: self.message().into(),
            attributes: Arc::from(attributes.to_string()),
        }
    }

    /// What identifies the alert for receivers.
    pub(crate) fn key(&self) -> String {
        let labels = self.transition.labels.as_ref();
        format!("{}\0{}", self.rule, serde_json::json!(labels))
    }

    /// The alert as receivers get it, resolved if it no longer fires.
    pub(crate) fn notice(&self) -> Notice {
        let mut labels: Labels = self.transition.labels.clone().unwrap_or_default();
        labels.extend(self.labels.clone());
        labels.insert("alertname".into(), self.rule.clone());
        labels.insert("severity".into(), self.severity.as_str().into());
        let mut annotations = BTreeMap::new();
        annotations.extend(self.summary.clone().map(|text| ("summary".to_owned(), text)));
        annotations.extend(self.runbook.clone().map(|text| ("runbook_url".to_owned(), text)));
        annotations.extend(
            self.transition
                .value
                .map(|value| ("value".to_owned(), shown(value))),
        );
        if self.simulated {
            annotations.insert(
                "simulated".into(),
                "SIMULATED: the data come from a simulator".into(),
            );
        }
        let at = self.time();
        let fires = self.transition.to == AlertState::Firing;
        Notice {
            labels,
            annotations,
            starts_at: at.clone(),
            ends_at: (!fires).then_some(at),
            ..Notice::default()
        }
    }

    /// When, in RFC 3339.
    pub(crate) fn time(&self) -> String {
        Timestamp::from_nanosecond(i128::from(self.transition.at_ns))
            .map_or_else(|_| String::new(), |at| at.to_string())
    }
}
