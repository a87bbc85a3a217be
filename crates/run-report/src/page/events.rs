//! Time, phases, gaps and events.

use jiff::Timestamp;
use report_page::model::{Event, Gap, Phase, Severity, Span};
use serde_json::Value;
use vllm_metrics::RunData;

use crate::analysis::Analysis;

/// Begin, end, phases and gaps, as the summary has them.
pub(super) struct Frame {
    pub(super) span: Span,
    pub(super) phases: Vec<Phase>,
    pub(super) gaps: Vec<Gap>,
}

impl Frame {
    pub(super) fn of(analysis: &Analysis<'_>) -> Self {
        let summary = &analysis.summary;
        let range = &summary["time_range"];
        let at = |key: &str| range[key].as_i64().unwrap_or(0);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let phases = list(&summary["phases"])
            .iter()
            .filter_map(|phase| {
                let name = phase["name"].as_str().filter(|name| !name.is_empty())?;
                Some(Phase {
                    name: name.to_owned(),
                    span: span(phase)?,
                })
            })
            .collect();
        let gaps = list(&summary["scrapes"])
            .iter()
            .flat_map(|scrapes| {
                let source = match scrapes["endpoint_url"].as_str().unwrap_or("") {
                    "" => scrapes["source"].as_str().unwrap_or("").to_owned(),
                    url => url.to_owned(),
                };
                list(&scrapes["gaps"])
                    .iter()
                    .filter_map(span)
                    .map(|span| Gap {
                        reason: reason(analysis.record(), &source, span),
                        source: source.clone(),
                        span,
                    })
                    .collect::<Vec<Gap>>()
            })
            .collect();
        Self {
            span: Span {
                start_ns: at("start_ns"),
                end_ns: at("end_ns"),
            },
            phases,
            gaps,
        }
    }
}

fn span(value: &Value) -> Option<Span> {
    let at = |key: &str| -> Option<i64> {
        let time: Timestamp = value[key].as_str()?.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok()
    };
    Some(Span {
        start_ns: at("start")?,
        end_ns: at("end")?,
    })
}

/// What the record says happened to the source in a gap.
fn reason(record: &RunData, source: &str, gap: Span) -> String {
    let inside = |time: i64| (gap.start_ns..=gap.end_ns).contains(&time);
    record
        .events
        .iter()
        .filter(|event| event.severity >= vllm_metrics::Severity::Warning)
        .filter(|event| inside(event.timestamp_ns) || event.end_ns.is_some_and(inside))
        .find(|event| event.attributes.contains(source) || event.message.contains(source))
        .map_or_else(
            || "the record does not say why".to_owned(),
            |event| event.message.to_string(),
        )
}

pub(super) fn of(record: &RunData) -> Vec<Event> {
    record
        .events
        .iter()
        .map(|event| Event {
            at_ns: event.timestamp_ns,
            end_ns: event.end_ns,
            severity: match event.severity {
                vllm_metrics::Severity::Error => Severity::Error,
                vllm_metrics::Severity::Warning => Severity::Warning,
                _ => Severity::Info,
            },
            kind: event.kind.replace('_', " "),
            source: event.source.to_string(),
            message: event.message.to_string(),
        })
        .collect()
}
