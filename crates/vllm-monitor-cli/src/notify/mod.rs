//! Sends alerts to webhooks and Alertmanagers, and tells systemd how the service is.
//!
//! Each receiver has a task of its own. One that does not answer delays neither the others nor the evaluation; what could
//! not be delivered is counted.

mod alertmanager;
mod systemd;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

pub use systemd::{Systemd, Watch};

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::settings::AlertSettings;

/// Longest wait for a receiver's answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before a delivery is tried again.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// Longest wait for the last deliveries when the monitor ends.
const LAST: Duration = Duration::from_secs(10);

/// Tasks that deliver alerts.
#[derive(Debug)]
pub struct Notifiers {
    tasks: JoinSet<()>,
}

impl Notifiers {
    /// Starts one task per receiver.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn start(settings: &AlertSettings, hub: &Arc<Hub>) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::System {
                what: "no client for notifications",
                source: std::io::Error::other(e),
            })?;
        for url in &settings.webhooks {
            let post = Post::new(&client, url.clone(), hub);
            tasks.spawn(webhook::deliver(post, hub.listen(u64::MAX).1));
        }
        for base in &settings.alertmanagers {
            let url = format!("{}/api/v2/alerts", base.trim_end_matches('/'));
            let post = Post::new(&client, url, hub);
            tasks.spawn(alertmanager::deliver(post, hub.listen(u64::MAX).1));
        }
        Ok(Self { tasks })
    }

    /// Waits for the last deliveries of a hub that was closed, within a limit.
    pub async fn finish(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(LAST, all).await;
    }
}

/// Posts JSON to one URL and counts how it went.
struct Post {
    client: reqwest::Client,
    url: String,
    hub: Arc<Hub>,
}

impl Post {
    fn new(client: &reqwest::Client, url: String, hub: &Arc<Hub>) -> Self {
        Self {
            client: client.clone(),
            url,
            hub: Arc::clone(hub),
        }
    }

    async fn send(&self, body: &impl Serialize) {
        let body = serde_json::to_vec(body).expect("plain data with text keys");
        let mut pauses = RETRIES.iter();
        loop {
            let answer = self
                .client
                .post(&self.url)
                .header("content-type", "application/json")
                .body(body.clone())
                .send()
                .await;
            let (delivered, may_retry) = match answer {
                Ok(answer) => (answer.status().is_success(), answer.status().is_server_error()),
                Err(_) => (false, true),
            };
            if delivered {
                self.hub.totals.notified.fetch_add(1, Ordering::Relaxed);
                return;
            }
            match pauses.next() {
                Some(pause) if may_retry => tokio::time::sleep(*pause).await,
                _ => {
                    self.hub.totals.notify_failed.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Alerts that were lost because this receiver was too slow.
    fn lost(&self, alerts: u64) {
        self.hub.totals.notify_failed.fetch_add(alerts, Ordering::Relaxed);
    }
}
