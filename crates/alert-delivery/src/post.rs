//! Posts JSON to one URL and counts how it went.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Longest wait for a receiver's answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses before a delivery is tried again.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How deliveries went.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests that a receiver took.
    pub delivered: AtomicU64,
    /// Requests given up, and alerts lost because a receiver was too slow.
    pub failed: AtomicU64,
}

/// A client for receivers: no redirects, and a limit on every try.
///
/// # Errors
/// If the system grants none.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Posts JSON to one URL.
#[derive(Debug, Clone)]
pub struct Post {
    client: reqwest::Client,
    url: String,
    counts: Arc<Counts>,
}

impl Post {
    /// Posts to `url`.
    pub fn new(client: &reqwest::Client, url: String, counts: &Arc<Counts>) -> Self {
        Self {
            client: client.clone(),
            url,
            counts: Arc::clone(counts),
        }
    }

    /// Sends `body`; tries three times where the receiver does not answer or answers with status 5xx. Counts the result.
    pub async fn send(&self, body: &impl Serialize) {
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
                self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                return;
            }
            match pauses.next() {
                Some(pause) if may_retry => tokio::time::sleep(*pause).await,
                _ => {
                    self.lost(1);
                    return;
                }
            }
        }
    }

    /// Counts alerts that were lost because this receiver was too slow.
    pub fn lost(&self, alerts: u64) {
        self.counts.failed.fetch_add(alerts, Ordering::Relaxed);
    }
}
