//! Settings, environment, the cost of recording, and what is absent.

use report_page::model::{Absent, Table, TableKind};
use run_diagnosis::bound::{Cause, RuleState};
use run_diagnosis::input::Column;
use serde_json::Value;
use vllm_metrics::{HelpTexts, Severity};

use crate::analysis::Analysis;
use crate::facts;

pub(super) fn of(analysis: &Analysis<'_>) -> Vec<Table> {
    let stored = &analysis.record().manifest.facts;
    let is_argument = |key: &str| key.starts_with(facts::SERVER_ARGUMENT);
    let is_setting = |key: &str| !key.starts_with("cost.") && !is_argument(key) && !HelpTexts::is_fact(key);
    let rows = |wanted: &dyn Fn(&str) -> bool| -> Vec<(String, String)> {
        stored
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, value)| (key.replace('_', " "), value.clone()))
            .collect()
    };
    let arguments = analysis
        .run
        .facts
        .server_arguments
        .iter()
        .map(|(key, value)| (format!("--{key}"), value.clone()))
        .collect();
    let mut environment: Vec<(String, String)> = analysis
        .run
        .facts
        .environment
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let gpus = analysis
        .run
        .facts
        .gpu_name
        .clone()
        .zip(analysis.run.facts.gpu_count);
    environment.extend(gpus.map(|(name, count)| ("GPUs".to_owned(), format!("{count} × {name}"))));
    [
        ("Run", TableKind::Configuration, rows(&is_setting)),
        ("Server arguments", TableKind::Configuration, arguments),
        ("Machine", TableKind::Environment, environment),
        (
            "Cost of recording",
            TableKind::Environment,
            cost(&analysis.summary["own_cost"]),
        ),
    ]
    .into_iter()
    .filter(|(_, _, rows)| !rows.is_empty())
    .map(|(title, kind, rows)| Table {
        title: title.to_owned(),
        kind,
        rows,
    })
    .collect()
}

/// The summary's own cost, key by key.
fn cost(own_cost: &Value) -> Vec<(String, String)> {
    let Some(entries) = own_cost.as_object() else {
        return Vec::new();
    };
    let text = |key: &str, value: &Value| match value {
        Value::Null => "not known".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(parts) => parts
            .iter()
            .map(|(key, value)| format!("{} {}", key.replace('_', " "), number(key, value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => number(key, other),
    };
    entries
        .iter()
        .map(|(key, value)| (key.replace('_', " "), text(key, value)))
        .collect()
}

/// A number with the unit that its key names; a whole one without decimals.
fn number(key: &str, value: &Value) -> String {
    let Some(number) = value.as_f64() else {
        return value.to_string();
    };
    let unit = match key.rsplit('_').next() {
        Some("bytes") => " bytes",
        Some("secs") => " s",
        Some("ns") => " ns",
        _ => "",
    };
    format!("{number}{unit}")
}

/// What the record, the steady window and the diagnosis lack, each with its reason.
pub(super) fn absent(analysis: &Analysis<'_>) -> Vec<Absent> {
    let mut all = Vec::new();
    let mut add = |what: &str, reason: String| {
        all.push(Absent {
            what: what.to_owned(),
            reason,
        });
    };
    let seconds = &analysis.run.seconds;
    for (what, column) in [
        ("Running requests", &seconds.running),
        ("Waiting requests", &seconds.waiting_for_capacity),
        ("KV cache usage", &seconds.kv_cache_usage_ratio),
        ("Engine steps", &seconds.engine_steps),
        ("Cores of the API server", &seconds.api_server_cpu_cores),
        ("Estimated FLOPs", &seconds.flops_per_gpu),
        ("GPU utilization", &seconds.gpu_utilization_ratio),
        ("GPU clocks", &seconds.sm_clock_ratio),
        ("Network utilization", &seconds.network_utilization_ratio),
        ("TCP retransmits", &seconds.tcp_retransmits),
    ] {
        if let Some(reason) = Column::absent_because(column) {
            add(what, reason.to_owned());
        }
    }
    if let Some(why) = analysis.summary["energy"]["unavailable"].as_str() {
        add("Energy", why.to_owned());
    }
    if analysis.run.requests.is_empty() {
        add(
            "Requests",
            "the harness recorded none; steady window and diagnosis need them".to_owned(),
        );
    }
    for missing in &analysis.window.missing {
        add("Steady window", missing.clone());
    }
    if let Some(diagnosis) = &analysis.diagnosis {
        for rule in &diagnosis.rules {
            if let RuleState::NotEvaluated { missing } = &rule.state {
                add(&format!("Rule: {}", rule.name), missing.join("; "));
            }
        }
        for (what, cause) in [
            (
                "What the time to first token consists of",
                &diagnosis.time_to_first_token,
            ),
            (
                "What the time per output token consists of",
                &diagnosis.time_per_output_token,
            ),
        ] {
            if let Cause::NotEvaluated { because } = cause {
                add(what, because.clone());
            }
        }
    }
    for event in &analysis.record().events {
        let says_absent = ["not_supported", "gpu_unavailable", "dropped"].contains(&&*event.kind);
        if says_absent || (event.severity >= Severity::Warning && event.kind.contains("unavailable")) {
            add(&event.kind.replace('_', " "), event.message.to_string());
        }
    }
    all.extend(analysis.record().notes.iter().map(|note| Absent {
        what: "Record".to_owned(),
        reason: note.clone(),
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_of_recording_has_whole_numbers_and_units() {
        let own_cost = serde_json::json!({
            "body_bytes": 7_152_843.0,
            "dropped": { "events": 0.0 },
            "mean_fetch_secs": 0.0012,
            "hook_p50_ns": null,
        });
        let rows = cost(&own_cost);
        let value = |key: &str| {
            rows.iter()
                .find(|(known, _)| known == key)
                .map(|(_, value)| &**value)
        };
        assert_eq!(value("body bytes"), Some("7152843 bytes"));
        assert_eq!(value("dropped"), Some("events 0"));
        assert_eq!(value("mean fetch secs"), Some("0.0012 s"));
        assert_eq!(value("hook p50 ns"), Some("not known"));
    }
}
