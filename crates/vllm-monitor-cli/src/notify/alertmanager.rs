//! Alertmanager's API v2. An alert that stands is sent again regularly, since Alertmanager takes one that it no longer
//! hears of as resolved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use vllm_monitor::{Alert, AlertChange, AlertKind, Decision, Severity};

use super::Post;
use crate::hub::Record;

/// Time between repetitions; Alertmanager's own limit is 5 minutes.
const REPEAT: Duration = Duration::from_secs(60);

pub(super) async fn deliver(post: Post, mut records: Receiver<Arc<Record>>) {
    let mut standing: BTreeMap<String, Value> = BTreeMap::new();
    let mut repeat = tokio::time::interval(REPEAT);
    repeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = records.recv() => match received {
                Ok(record) => {
                    if let Decision::Alert(alert) = &record.decision {
                        let key = format!("{}\0{}\0{:?}", alert.target, alert.failure_type, alert.kind);
                        let mut body = describe(alert, &record.time);
                        if alert.change == AlertChange::Cleared {
                            if let Some(begun) = standing.remove(&key) {
                                body["startsAt"] = begun["startsAt"].clone();
                            }
                            body["endsAt"] = record.time.clone().into();
                        } else {
                            standing.insert(key, body.clone());
                        }
                        post.send(&[body]).await;
                    }
                }
                Err(RecvError::Lagged(lost)) => post.lost(lost),
                Err(RecvError::Closed) => return,
            },
            _ = repeat.tick() => {
                if !standing.is_empty() {
                    let all: Vec<&Value> = standing.values().collect();
                    post.send(&all).await;
                }
            }
        }
    }
}

fn describe(alert: &Alert, time: &str) -> Value {
    let (kind, name) = match alert.kind {
        AlertKind::Predicted => ("predicted", "VllmFailurePredicted"),
        AlertKind::Present => ("present", "VllmFailure"),
    };
    let severity = match (&alert.condition, alert.kind) {
        (Some(condition), _) if condition.severity == Severity::Failed => "critical",
        _ => "warning",
    };
    let evidence = alert
        .condition
        .as_ref()
        .map(|condition| &condition.evidence)
        .or(alert.forecast.as_ref().map(|forecast| &forecast.evidence));
    let evidence: Vec<String> = evidence.into_iter().flatten().map(ToString::to_string).collect();
    let mut annotations = json!({
        "summary": format!("{}: {} {kind}", alert.target, alert.failure_type),
        "description": evidence.join("; "),
    });
    if let Some(advice) = alert
        .condition
        .as_ref()
        .and_then(|condition| condition.advice.as_deref())
    {
        annotations["advice"] = advice.into();
    }
    if let Some(forecast) = &alert.forecast {
        annotations["probability_60s"] = format!("{:.3}", forecast.probability.at(60.0)).into();
    }
    json!({
        "labels": {
            "alertname": name,
            "target": &*alert.target,
            "failure_type": alert.failure_type.as_str(),
            "kind": kind,
            "severity": severity,
        },
        "annotations": annotations,
        "startsAt": time,
    })
}
