//! Sending samples to another system while the run goes on: Pushgateway and Prometheus remote write.
//!
//! A run must not wait for a receiver. What is to be sent goes through a bounded queue to a thread of its own, which
//! tries again with growing pauses. What does not fit the queue, or is given up, is dropped and counted.

mod pushgateway;
mod remote_write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use reqwest::{Client, Method, StatusCode};
use url::Url;

pub use pushgateway::{PushgatewayConfig, PushgatewayStore};
pub use remote_write::{RemoteWriteConfig, RemoteWriteStore};

use crate::error::{Error, Result};
use crate::shown_url::ShownUrl;

/// How hard to try to deliver.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Requests that may wait while the receiver is slow or away; the next one is dropped.
    pub queue: usize,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// Attempts before a request is given up.
    pub attempts: u32,
    /// Pause before the second attempt; doubled before each further one, up to half a minute.
    pub first_pause: Duration,
    /// How long finishing waits for what is still queued.
    pub drain: Duration,
    /// Further headers, such as `authorization`. Never printed.
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

/// What became of the samples so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendStats {
    /// Requests that the receiver took.
    pub requests_sent: u64,
    /// Samples in them.
    pub samples_sent: u64,
    /// Attempts that failed and were followed by another.
    pub retries: u64,
    /// Samples in requests that were refused or given up.
    pub samples_failed: u64,
    /// Samples that found the queue full, or that the receiver's format cannot carry.
    pub samples_dropped: u64,
    /// What the receiver or the network said last, if anything went wrong.
    pub last_error: Option<String>,
}

/// Reads the counts while the store is at work and after it.
#[derive(Debug, Clone, Default)]
pub struct SendMonitor {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests_sent: AtomicU64,
    samples_sent: AtomicU64,
    retries: AtomicU64,
    samples_failed: AtomicU64,
    samples_dropped: AtomicU64,
    last_error: std::sync::Mutex<Option<String>>,
}

impl SendMonitor {
    /// The counts now.
    pub fn stats(&self) -> SendStats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SendStats {
            requests_sent: get(&self.counts.requests_sent),
            samples_sent: get(&self.counts.samples_sent),
            retries: get(&self.counts.retries),
            samples_failed: get(&self.counts.samples_failed),
            samples_dropped: get(&self.counts.samples_dropped),
            last_error: self.last_error().clone(),
        }
    }

    fn last_error(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.counts
            .last_error
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn add(count: &AtomicU64, n: u64) {
        count.fetch_add(n, Ordering::Relaxed);
    }

    fn dropped(&self, samples: u64) {
        Self::add(&self.counts.samples_dropped, samples);
    }
}

/// One request to send.
struct Payload {
    body: Bytes,
    samples: u64,
}

/// The thread that sends, and the queue before it.
struct Courier {
    queue: Option<Sender<Payload>>,
    thread: Option<JoinHandle<()>>,
    done: Receiver<()>,
    monitor: SendMonitor,
    target: String,
    drain: Duration,
}

impl Courier {
    fn start(method: Method, url: &Url, headers: &[(&str, &str)], delivery: &Delivery) -> Result<Self> {
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
                // The receiver waits for this only with a deadline; one that gave up is gone.
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

    /// Never waits.
    fn send(&self, body: Vec<u8>, samples: u64) {
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

    /// Waits for what is queued, but not beyond the deadline; then what is left is named in an error.
    fn finish(mut self) -> Result<()> {
        drop(self.queue.take());
        if self.done.recv_timeout(self.drain).is_err() {
            return Err(Error::Store {
                target: self.target.clone(),
                reason: format!(
                    "not all samples were delivered within {:?}: {:?}",
                    self.drain,
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
        if stats.samples_failed > 0 || stats.samples_dropped > 0 {
            tracing::warn!(target = self.target, ?stats, "not every sample was delivered");
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

    /// The error says why, and whether another attempt could help.
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

fn parse_url(text: &str) -> Result<Url> {
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

/// The labels of a series as a map; text that is not a JSON object gives none.
fn labels(json: &str) -> BTreeMap<String, String> {
    serde_json::from_str(json).unwrap_or_default()
}

/// Labels that the receiver sets itself keep the scraped value under another name, as Prometheus does.
fn export_reserved(labels: &mut BTreeMap<String, String>, reserved: &[&str]) {
    for name in reserved {
        if let Some(value) = labels.remove(*name) {
            labels.insert(format!("exported_{name}"), value);
        }
    }
}
