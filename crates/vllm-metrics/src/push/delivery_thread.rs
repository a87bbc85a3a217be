//! The thread that sends requests with retries, and its bounded queue.

use std::collections::BTreeMap;
use std::fmt;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use reqwest::{Client, Method, StatusCode};
use run_model::{Error, Result, ShownUrl};
use url::Url;

use super::SendMonitor;

/// Delivery settings.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Maximum number of waiting requests; further ones are dropped.
    pub queue: usize,
    /// Timeout of one attempt.
    pub timeout: Duration,
    /// Number of attempts before a request is given up.
    pub attempts: u32,
    /// Pause before the second attempt; doubled before each further one, up to 30 seconds.
    pub first_pause: Duration,
    /// Maximum time to wait for queued requests at the end.
    pub drain: Duration,
    /// Additional headers, such as `authorization`. Never printed.
    pub headers: Vec<(String, String)>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            queue: 64,
            timeout: Duration::from_secs(5),
            attempts: 5,
            first_pause: Duration::from_millis(200),
            drain: Duration::from_secs(5),
            headers: Vec::new(),
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Delivery")
            .field("queue", &self.queue)
            .field("timeout", &self.timeout)
            .field("attempts", &self.attempts)
            .field("first_pause", &self.first_pause)
            .field("drain", &self.drain)
            .field("headers", &names)
            .finish()
    }
}

/// One request to send.
struct Payload {
    body: Bytes,
    samples: u64,
}

/// The sending thread and its queue.
pub(super) struct DeliveryThread {
    queue: Option<Sender<Payload>>,
    thread: Option<JoinHandle<()>>,
    done: Receiver<()>,
    pub(super) monitor: SendMonitor,
    pub(super) target: String,
    drain: Duration,
}

impl DeliveryThread {
    pub(super) fn start(
        method: Method,
        url: &Url,
        headers: &[(&str, &str)],
        delivery: &Delivery,
    ) -> Result<Self> {
        let target = String::from(ShownUrl::new(url));
        let mut map = reqwest::header::HeaderMap::new();
        let own = delivery
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in headers.iter().copied().chain(own) {
            let name = reqwest::header::HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Error::config(format!("`{name}` is not a header name ({target})")))?;
            let value = reqwest::header::HeaderValue::from_str(value).map_err(|_| {
                Error::config(format!(
                    "the value of header {name} has forbidden characters ({target})"
                ))
            })?;
            map.insert(name, value);
        }
        let client = Client::builder()
            .default_headers(map)
            .timeout(delivery.timeout)
            .build()
            .map_err(|error| Error::Store {
                target: target.clone(),
                reason: error.to_string(),
            })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Start {
                what: "sending runtime",
                source,
            })?;
        let (queue, payloads) = bounded(delivery.queue.max(1));
        let (finished, done) = bounded(1);
        let monitor = SendMonitor::default();
        let worker = Worker {
            client,
            method,
            url: url.clone(),
            delivery: delivery.clone(),
            monitor: monitor.clone(),
        };
        let thread = thread::Builder::new()
            .name("metrics-send".into())
            .spawn(move || {
                while let Ok(payload) = payloads.recv() {
                    runtime.block_on(worker.deliver(payload));
                }
                // The receiving side waits only until a deadline and may be gone.
                let _ = finished.send(());
            })
            .map_err(|source| Error::Start {
                what: "sending thread",
                source,
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            done,
            monitor,
            target,
            drain: delivery.drain,
        })
    }

    /// Queues a request without blocking.
    pub(super) fn send(&self, body: Vec<u8>, samples: u64) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(Payload {
            body: body.into(),
            samples,
        }) {
            Ok(()) => {}
            Err(TrySendError::Full(payload) | TrySendError::Disconnected(payload)) => {
                self.monitor.dropped(payload.samples);
            }
        }
    }

    /// Waits for queued requests until the deadline; the error reports what is left.
    pub(super) fn finish(mut self) -> Result<()> {
        drop(self.queue.take());
        if self.done.recv_timeout(self.drain).is_err() {
            return Err(Error::Store {
                target: self.target.clone(),
                reason: format!(
                    "not all samples were delivered within {}: the receiver took {}",
                    duration_text::Shown(self.drain),
                    self.monitor.stats()
                ),
            });
        }
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            return Err(Error::Panicked {
                thread: "metrics-send",
                message: "see the log".into(),
            });
        }
        let stats = self.monitor.stats();
        if !stats.is_complete() {
            tracing::warn!(
                target = self.target,
                "not every sample was delivered: the receiver took {stats}"
            );
        }
        Ok(())
    }
}

struct Worker {
    client: Client,
    method: Method,
    url: Url,
    delivery: Delivery,
    monitor: SendMonitor,
}

impl Worker {
    async fn deliver(&self, payload: Payload) {
        let counts = &self.monitor.counts;
        let mut pause = self.delivery.first_pause;
        let started = Instant::now();
        for attempt in 1..=self.delivery.attempts.max(1) {
            let (reason, again) = match self.attempt(payload.body.clone()).await {
                Ok(()) => {
                    SendMonitor::add(&counts.requests_sent, 1);
                    SendMonitor::add(&counts.samples_sent, payload.samples);
                    return;
                }
                Err(failure) => failure,
            };
            tracing::debug!(attempt, reason, elapsed = ?started.elapsed(), "a request was not taken");
            *self.monitor.last_error() = Some(reason);
            if !again || attempt == self.delivery.attempts {
                break;
            }
            SendMonitor::add(&counts.retries, 1);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
        SendMonitor::add(&counts.samples_failed, payload.samples);
    }

    /// The error contains the reason and whether another attempt could succeed.
    async fn attempt(&self, body: Bytes) -> Result<(), (String, bool)> {
        let request = self
            .client
            .request(self.method.clone(), self.url.clone())
            .body(body);
        let response = request
            .send()
            .await
            .map_err(|error| (error.without_url().to_string(), true))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let text: String = response
            .text()
            .await
            .unwrap_or_default()
            .trim()
            .chars()
            .take(200)
            .collect();
        let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err((format!("{status}: {text}"), again))
    }
}

pub(super) fn parse_url(text: &str) -> Result<Url> {
    let url: Url = text
        .parse()
        .map_err(|error| Error::config(format!("`{}` is not a URL: {error}", ShownUrl::from_text(text))))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::config(format!(
            "`{}` must begin with http:// or https://",
            ShownUrl::new(&url)
        )));
    }
    Ok(url)
}

/// The labels of a series as a map; empty if the text is not a JSON object.
pub(super) fn labels(json: &str) -> BTreeMap<String, String> {
    serde_json::from_str(json).unwrap_or_default()
}

/// Renames scraped labels that the receiver sets itself, as Prometheus does.
pub(super) fn export_reserved(labels: &mut BTreeMap<String, String>, reserved: &[&str]) {
    for name in reserved {
        if let Some(value) = labels.remove(*name) {
            labels.insert(format!("exported_{name}"), value);
        }
    }
}
