//! Receivers of alerts, each with a task and a bounded queue, so that one that does not answer delays nothing.

use std::sync::Arc;
use std::time::Duration;

use alert_delivery::{Alertmanager, Counts, REPEAT, Webhook};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use vllm_metrics::ShownUrl;

use crate::change::Change;

/// Changes that may wait for one receiver.
const QUEUE: usize = 1024;
/// Longest wait for the last deliveries.
const LAST: Duration = Duration::from_secs(10);

/// Where alerts go, besides the log and the record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receivers {
    /// URLs that take Alertmanager's webhook body.
    pub webhooks: Vec<String>,
    /// Base URLs of Alertmanagers.
    pub alertmanagers: Vec<String>,
}

/// The tasks of all receivers.
pub(crate) struct ReceiverTasks {
    /// With the receiver's URL, without secrets.
    queues: Vec<(String, Sender<Arc<Change>>)>,
    tasks: JoinSet<()>,
    counts: Arc<Counts>,
}

impl ReceiverTasks {
    pub(crate) fn start(receivers: &Receivers, counts: &Arc<Counts>) -> Result<Self, std::io::Error> {
        let client = alert_delivery::client().map_err(std::io::Error::other)?;
        let mut started = Self {
            queues: Vec::new(),
            tasks: JoinSet::new(),
            counts: Arc::clone(counts),
        };
        for url in &receivers.webhooks {
            let webhook = Webhook::new(&client, url, "sut", counts);
            let (queue, changes) = mpsc::channel(QUEUE);
            started.queues.push((ShownUrl::from_text(url).to_string(), queue));
            started.tasks.spawn(to_webhook(webhook, changes));
        }
        for base in &receivers.alertmanagers {
            let manager = Alertmanager::new(&client, base, counts);
            let (queue, changes) = mpsc::channel(QUEUE);
            started
                .queues
                .push((ShownUrl::from_text(base).to_string(), queue));
            started.tasks.spawn(to_alertmanager(manager, changes));
        }
        Ok(started)
    }

    /// Queues a change for every receiver; counts it where a queue is full.
    pub(crate) fn send(&self, change: &Arc<Change>) {
        for (url, queue) in &self.queues {
            if queue.try_send(Arc::clone(change)).is_err() {
                self.counts
                    .fail(1, format!("{url}: it is too slow, and an alert was dropped"));
            }
        }
    }

    /// Waits for the last deliveries, within a limit.
    pub(crate) async fn finish(mut self) {
        self.queues.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(LAST, all).await;
    }
}

async fn to_webhook(webhook: Webhook, mut changes: Receiver<Arc<Change>>) {
    while let Some(change) = changes.recv().await {
        webhook.send(&change.notice()).await;
    }
}

async fn to_alertmanager(mut manager: Alertmanager, mut changes: Receiver<Arc<Change>>) {
    let mut repeat = tokio::time::interval(REPEAT);
    repeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) if change.notice().ends_at.is_some() => manager.end(&change.key(), &change.time()).await,
                Some(change) => manager.begin(change.key(), change.notice()).await,
                None => return,
            },
            _ = repeat.tick() => manager.repeat().await,
        }
    }
}
