//! Posts JSON to one URL and counts how it went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use run_model::ShownUrl;
use run_model::error::with_causes;
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
    last_error: Mutex<Option<String>>,
}

impl Counts {
    /// Counts requests or alerts that were not delivered, and why.
    pub fn fail(&self, count: u64, why: String) {
        self.failed.fetch_add(count, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the last delivery failed: the receiver's URL without secrets, and its status or the error.
    pub fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
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

    /// Sends `body`; tries three times where the receiver does not answer or answers with status 5xx. Counts the result,
    /// and keeps why the last one failed.
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
            let (problem, may_retry) = match answer {
                Ok(answer) if answer.status().is_success() => {
                    self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(answer) => (
                    format!("status {}", answer.status()),
                    answer.status().is_server_error(),
                ),
                // Without the URL, which may hold secrets.
                Err(error) => (with_causes(&error.without_url()), true),
            };
            match pauses.next() {
                Some(pause) if may_retry => tokio::time::sleep(*pause).await,
                _ => {
                    self.counts.fail(1, format!("{}: {problem}", self.shown_url()));
                    return;
                }
            }
        }
    }

    /// Counts alerts that were lost because this receiver was too slow.
    pub fn lost(&self, alerts: u64) {
        self.counts.fail(
            alerts,
            format!("{}: it is too slow, alerts were dropped", self.shown_url()),
        );
    }

    fn shown_url(&self) -> ShownUrl {
        ShownUrl::from_text(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_failed_delivery_keeps_its_reason_without_secrets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let url = format!("http://me:secret@{address}/hook?token=secret");
        let post = Post::new(&client().unwrap(), url, &counts);
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _head = stream.read(&mut [0; 4096]).await.unwrap();
            let refused = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(refused).await.unwrap();
        };
        tokio::join!(post.send(&1), answer);
        assert_eq!(counts.failed.load(Ordering::Relaxed), 1);
        assert_eq!(
            counts.last_error(),
            Some(format!("http://{address}/hook?…: status 404 Not Found"))
        );
        post.lost(3);
        assert_eq!(counts.failed.load(Ordering::Relaxed), 4);
        assert!(counts.last_error().unwrap().contains("too slow"));
    }

    #[tokio::test]
    async fn an_error_is_described_with_its_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/?token=secret", listener.local_addr().unwrap());
        drop(listener);
        let error = client().unwrap().post(url).send().await.unwrap_err();
        let text = with_causes(&error.without_url());
        assert!(text.contains("refused") && !text.contains("secret"), "{text}");
    }
}
