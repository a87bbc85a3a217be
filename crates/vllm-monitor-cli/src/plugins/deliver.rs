//! Messages that plugins write about alerts: published as events and posted to the webhooks.

use std::sync::Arc;
use std::time::Duration;

use alert_delivery::Post;
use monitor_plugins::Message;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver};
use tokio::task::JoinSet;
use vllm_monitor::{Alert, Decision};

use super::Shared;
use crate::error::{Error, Result};
use crate::hub::Record;

/// Messages that may wait for one webhook.
const QUEUE: usize = 256;
/// Longest wait for the last deliveries.
const LAST: Duration = Duration::from_secs(10);

/// One message, as it is posted.
#[derive(Debug, Clone, Serialize)]
struct Sent {
    time: String,
    target: Arc<str>,
    #[serde(flatten)]
    message: Message,
}

/// Tasks that deliver messages.
#[derive(Debug, Default)]
pub struct Messages {
    tasks: JoinSet<()>,
}

impl Messages {
    pub(super) fn start(shared: &Arc<Shared>, webhooks: &[String]) -> Result<Self> {
        let client = alert_delivery::client().map_err(|e| Error::System {
            what: "no client for messages of plugins",
            source: std::io::Error::other(e),
        })?;
        let (sender, _) = broadcast::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for url in webhooks {
            let post = Post::new(&client, url.clone(), &shared.hub.totals.notified);
            tasks.spawn(deliver(post, sender.subscribe()));
        }
        let records = shared.hub.listen(u64::MAX).1;
        tasks.spawn(write(Arc::clone(shared), records, sender));
        Ok(Self { tasks })
    }

    /// Waits for the last deliveries of a hub that was closed, within a limit.
    pub async fn finish(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(LAST, all).await;
    }
}

/// Passes each alert to the plugins.
async fn write(
    shared: Arc<Shared>,
    mut records: Receiver<Arc<Record>>,
    sender: broadcast::Sender<Arc<Sent>>,
) {
    loop {
        let record = match records.recv().await {
            Ok(record) => record,
            Err(RecvError::Lagged(lost)) => {
                let text = format!("{lost} records were not passed to notify(e): it is too slow");
                shared.say("plugins", "", text, true);
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let Decision::Alert(alert) = &record.decision else {
            continue;
        };
        let (plugins, event) = (Arc::clone(&shared), event(alert));
        let called = tokio::task::spawn_blocking(move || plugins.host.notify(&event));
        let Ok((messages, faults)) = called.await else {
            return;
        };
        for fault in &faults {
            shared.failed(&record.target, fault);
        }
        for message in messages {
            let text = format!("{}: {}", message.title, message.text);
            shared.say(&record.target, &message.plugin, text, false);
            // It fails only without webhooks.
            let _receivers = sender.send(Arc::new(Sent {
                time: record.time.clone(),
                target: Arc::clone(&record.target),
                message,
            }));
        }
    }
}

async fn deliver(post: Post, mut messages: Receiver<Arc<Sent>>) {
    loop {
        match messages.recv().await {
            Ok(message) => post.send(&*message).await,
            Err(RecvError::Lagged(lost)) => post.lost(lost),
            Err(RecvError::Closed) => return,
        }
    }
}

/// An alert as `notify` sees it. `probability` is absent if it is not known.
fn event(alert: &Alert) -> serde_json::Value {
    let mut event = json!({
        "target": alert.target,
        "change": alert.change,
        "kind": alert.kind,
        "failure_type": alert.failure_type.as_str(),
        "text": alert.evidence_text(),
    });
    if let Some(forecast) = &alert.forecast {
        event["probability"] = forecast.probability.at(60.0).into();
    }
    event
}
