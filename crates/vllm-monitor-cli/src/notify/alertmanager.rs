//! Alerts of the core as an Alertmanager takes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert_delivery::{Alertmanager, Notice, REPEAT};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use vllm_monitor::{Alert, AlertChange, AlertKind, Decision, Severity};

use crate::hub::Record;

pub(super) async fn deliver(mut manager: Alertmanager, mut records: Receiver<Arc<Record>>) {
    let mut repeat = tokio::time::interval(REPEAT);
    repeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = records.recv() => match received {
                Ok(record) => {
                    if let Decision::Alert(alert) = &record.decision {
                        let key = format!("{}\0{}\0{:?}", alert.target, alert.failure_type, alert.kind);
                        if alert.change == AlertChange::Cleared {
                            manager.end(&key, &record.time).await;
                        } else {
                            manager.begin(key, describe(alert, &record.time)).await;
                        }
                    }
                }
                Err(RecvError::Lagged(lost)) => manager.lost(lost),
                Err(RecvError::Closed) => return,
            },
            _ = repeat.tick() => manager.repeat().await,
        }
    }
}

fn describe(alert: &Alert, time: &str) -> Notice {
    let kind = alert.kind.as_str();
    let name = match alert.kind {
        AlertKind::Predicted => "VllmFailurePredicted",
        AlertKind::Present => "VllmFailure",
    };
    let severity = match (&alert.condition, alert.kind) {
        (Some(condition), _) if condition.severity == Severity::Failed => "critical",
        _ => "warning",
    };
    let mut annotations = BTreeMap::from([
        (
            "summary".to_owned(),
            format!("{}: {} {kind}", alert.target, alert.failure_type),
        ),
        ("description".to_owned(), alert.evidence_text()),
    ]);
    if let Some(advice) = alert
        .condition
        .as_ref()
        .and_then(|condition| condition.advice.as_deref())
    {
        annotations.insert("advice".to_owned(), advice.to_owned());
    }
    if let Some(forecast) = &alert.forecast {
        let probability = format!("{:.3}", forecast.probability.at(60.0));
        annotations.insert("probability_60s".to_owned(), probability);
    }
    let labels = [
        ("alertname", name),
        ("target", &*alert.target),
        ("failure_type", alert.failure_type.as_str()),
        ("kind", kind),
        ("severity", severity),
    ];
    Notice {
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        annotations,
        starts_at: time.to_owned(),
        ..Notice::default()
    }
}
