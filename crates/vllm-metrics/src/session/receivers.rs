//! Receivers of samples during the run, and their delivery statistics.

use std::fmt;

use super::writer::WriterThread;
#[cfg(feature = "http")]
use crate::push::{PushgatewayConfig, PushgatewayStore, RemoteWriteConfig, RemoteWriteStore};
use crate::push::{SendMonitor, SendStats};
use crate::recorder::{Filter, QueueMonitor, Recorder};
use run_model::Manifest;
use run_model::Result;
use run_store::Store;

/// A receiver as configured: how it is called, and how it is started.
pub(super) struct Receiver {
    kind: &'static str,
    start: Box<dyn FnOnce() -> Result<Started> + Send>,
}

/// A started receiver.
struct Started {
    /// Where it sends to, as it may be shown.
    target: String,
    store: Box<dyn Store>,
    sends: SendMonitor,
}

#[cfg(feature = "http")]
impl Receiver {
    pub(super) fn pushgateway(config: PushgatewayConfig) -> Self {
        Self {
            kind: "Pushgateway",
            start: Box::new(move || {
                let (store, sends) = PushgatewayStore::start(&config)?;
                Ok(Started {
                    target: store.target().to_owned(),
                    store: Box::new(store),
                    sends,
                })
            }),
        }
    }

    pub(super) fn remote_write(config: RemoteWriteConfig) -> Self {
        Self {
            kind: "remote write",
            start: Box::new(move || {
                let (store, sends) = RemoteWriteStore::start(config)?;
                Ok(Started {
                    target: store.target().to_owned(),
                    store: Box::new(store),
                    sends,
                })
            }),
        }
    }
}

/// Delivery statistics of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// `Pushgateway http://…` or `remote write http://…`, without credentials.
    pub receiver: String,
    /// The counts.
    pub stats: SendStats,
}

impl Sent {
    /// Whether the receiver got every sample.
    pub fn is_complete(&self) -> bool {
        self.stats.is_complete()
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} took {}", self.receiver, self.stats)
    }
}

/// The running receivers of a session, each a subscriber with its own thread.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    threads: Vec<WriterThread>,
    monitor: ReceiverMonitor,
}

/// Reads the receivers' statistics during the run.
#[derive(Debug, Clone, Default)]
pub(super) struct ReceiverMonitor {
    list: Vec<Monitored>,
}

#[derive(Debug, Clone)]
struct Monitored {
    receiver: String,
    sends: SendMonitor,
    queue: QueueMonitor,
    reported: Reported,
}

/// What has been reported about a receiver.
#[derive(Debug, Clone, Copy, Default)]
struct Reported {
    trouble: bool,
    lost: u64,
}

impl Receivers {
    /// Starts the receivers as subscribers of `recorder`.
    pub(super) fn start(wanted: Vec<Receiver>, recorder: &Recorder, queue_bytes: usize) -> Result<Self> {
        let mut receivers = Self::default();
        for receiver in wanted {
            let Started { target, store, sends } = (receiver.start)()?;
            let subscription = recorder.subscribe(Filter::none().samples(true), queue_bytes);
            let thread = WriterThread::start("metrics-push", store, subscription)?;
            receivers.monitor.list.push(Monitored {
                receiver: format!("{} {target}", receiver.kind),
                sends,
                queue: thread.queue().clone(),
                reported: Reported::default(),
            });
            receivers.threads.push(thread);
        }
        Ok(receivers)
    }

    pub(super) fn monitor(&self) -> ReceiverMonitor {
        self.monitor.clone()
    }

    /// Sends what is queued, within each receiver's limit, and returns the statistics.
    pub(super) fn finish(self, manifest: &Manifest) -> Vec<Sent> {
        for thread in self.threads {
            if let Err(error) = thread.finish(manifest.clone()) {
                tracing::warn!(%error, "a receiver could not be finished");
            }
        }
        self.monitor.list.iter().map(Monitored::sent).collect()
    }
}

impl ReceiverMonitor {
    /// Problems since the last call, one sentence each: a receiver's first error, and each further loss.
    pub(super) fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        for monitored in &mut self.list {
            let sent = monitored.sent();
            let lost = sent.stats.samples_failed + sent.stats.samples_dropped;
            let is_new = sent.stats.last_error.is_some() && !monitored.reported.trouble;
            if is_new || lost > monitored.reported.lost {
                monitored.reported = Reported { trouble: true, lost };
                news.push(sent.to_string());
            }
        }
        news
    }
}

impl Monitored {
    fn sent(&self) -> Sent {
        let mut stats = self.sends.stats();
        stats.samples_dropped += self.queue.dropped().samples;
        Sent {
            receiver: self.receiver.clone(),
            stats,
        }
    }
}
