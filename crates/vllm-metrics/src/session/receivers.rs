//! The systems that samples are sent to while the run goes on, and what became of what was sent.

use std::fmt;

use crate::error::Result;
use crate::store::Store;
use crate::store::send::{
    PushgatewayConfig, PushgatewayStore, RemoteWriteConfig, RemoteWriteStore, SendMonitor, SendStats, Tee,
};

/// A receiver to be.
#[derive(Debug, Clone)]
pub(super) enum Receiver {
    Pushgateway(PushgatewayConfig),
    RemoteWrite(RemoteWriteConfig),
}

/// What became of the samples sent to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// `Pushgateway http://…` or `remote write http://…`, without credentials.
    pub receiver: String,
    /// The counts.
    pub stats: SendStats,
}

impl Sent {
    /// Whether the receiver holds everything it was meant to get.
    pub fn is_complete(&self) -> bool {
        self.stats.samples_failed == 0 && self.stats.samples_dropped == 0
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { receiver, stats } = self;
        write!(
            f,
            "{receiver} took {} samples in {} requests",
            stats.samples_sent, stats.requests_sent
        )?;
        if !self.is_complete() {
            write!(
                f,
                "; {} samples were refused or given up, {} dropped",
                stats.samples_failed, stats.samples_dropped
            )?;
        }
        match &stats.last_error {
            Some(error) => write!(f, "; the last error: {error}"),
            None => Ok(()),
        }
    }
}

/// The running receivers of a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Receivers {
    list: Vec<(String, SendMonitor, Told)>,
}

/// What has been said of a receiver.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    trouble: bool,
    lost: u64,
}

impl Receivers {
    /// Starts them, and puts them beside `store`.
    pub(super) fn start(wanted: Vec<Receiver>, store: Box<dyn Store>) -> Result<(Self, Box<dyn Store>)> {
        if wanted.is_empty() {
            return Ok((Self::default(), store));
        }
        let (mut list, mut stores) = (Vec::new(), Vec::<Box<dyn Store>>::new());
        for receiver in wanted {
            let (kind, target, monitor): (_, String, _) = match receiver {
                Receiver::Pushgateway(config) => {
                    let (store, monitor) = PushgatewayStore::start(&config)?;
                    let target = store.target().to_owned();
                    stores.push(Box::new(store));
                    ("Pushgateway", target, monitor)
                }
                Receiver::RemoteWrite(config) => {
                    let (store, monitor) = RemoteWriteStore::start(config)?;
                    let target = store.target().to_owned();
                    stores.push(Box::new(store));
                    ("remote write", target, monitor)
                }
            };
            list.push((format!("{kind} {target}"), monitor, Told::default()));
        }
        Ok((Self { list }, Box::new(Tee::new(store, stores))))
    }

    /// What became of everything so far.
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.list
            .iter()
            .map(|(receiver, monitor, _)| Sent {
                receiver: receiver.clone(),
                stats: monitor.stats(),
            })
            .collect()
    }

    /// Trouble since the last look, a sentence each: the first error of a receiver, and each time it lost more.
    pub(super) fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        for (receiver, monitor, told) in &mut self.list {
            let stats = monitor.stats();
            let lost = stats.samples_failed + stats.samples_dropped;
            let is_new = stats.last_error.is_some() && !told.trouble;
            if is_new || lost > told.lost {
                *told = Told { trouble: true, lost };
                let receiver = receiver.clone();
                news.push(Sent { receiver, stats }.to_string());
            }
        }
        news
    }
}
