//! Sends alerts to webhooks and Alertmanagers, and tells systemd how the service is.
//!
//! Each receiver has a task of its own. One that does not answer delays neither the others nor the evaluation; what could
//! not be delivered is counted.

mod alertmanager;
mod systemd;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use alert_delivery::{Alertmanager, Post};
use tokio::task::JoinSet;

pub use systemd::{Systemd, Watch};

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::settings::AlertSettings;

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
        let client = alert_delivery::client().map_err(|e| Error::System {
            what: "no client for notifications",
            source: std::io::Error::other(e),
        })?;
        let counts = &hub.totals.notified;
        for url in &settings.webhooks {
            let post = Post::new(&client, url.clone(), counts);
            tasks.spawn(webhook::deliver(post, hub.listen(u64::MAX).1));
        }
        for base in &settings.alertmanagers {
            let manager = Alertmanager::new(&client, base, counts);
            tasks.spawn(alertmanager::deliver(manager, hub.listen(u64::MAX).1));
        }
        Ok(Self { tasks })
    }

    /// Waits for the last deliveries of a hub that was closed, within a limit.
    pub async fn finish(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(LAST, all).await;
    }
}
