//! What a harness calls while it runs: cheap marks that the session turns into request and batch rows.
//!
//! A call reads the processor's counter and copies seven words into a ring that belongs to its thread. It never
//! blocks and never fails. It allocates in the first call of each thread, and when a burst fills the ring, which then
//! continues in one of twice the size. At the configured size a full ring drops the entry and counts it; the count
//! ends up in the run's events. The first call after a rest also wakes the thread that empties the rings.
//!
//! Marks that happen a few times per run ([`Hooks::phase`], [`Hooks::event`], [`Hooks::request_reason`], …) are
//! control events: they go through a bounded channel, do not block either, but may allocate.

mod assemble;
mod entry;
mod ring;

use std::sync::Arc;

pub(crate) use assemble::Assembler;
pub(crate) use ring::{Aside, HookCosts, HookReader};

use entry::Entry;
use ring::RingHub;
use run_model::RunClock;
use run_model::{EventRow, Outcome, TimeSource};

/// The harness's side of a session. Cheap to clone, usable from any thread, and harmless after the session ended.
#[derive(Debug, Clone)]
pub struct Hooks {
    hub: Arc<RingHub>,
}

impl Hooks {
    pub(crate) fn new(hub: Arc<RingHub>) -> Self {
        Self { hub }
    }

    /// The model answers; load time ends here. Forces a scrape.
    pub fn model_loaded(&self) {
        self.hub.aside(Aside::ModelLoaded {
            at_ns: self.hub.clock().now_ns(),
        });
    }

    /// A phase of the run begins (`warmup`, `performance`, …) and lasts until the next one. Forces a scrape, so that
    /// both sides of the edge have a sample.
    pub fn phase(&self, name: &str) {
        self.hub.aside(Aside::Phase {
            at_ns: self.hub.clock().now_ns(),
            name: Arc::from(name),
        });
    }

    /// The last query was answered. Forces a scrape.
    pub fn test_completed(&self) {
        self.hub.aside(Aside::TestCompleted {
            at_ns: self.hub.clock().now_ns(),
        });
    }

    /// Anything else worth keeping; stored as given.
    pub fn event(&self, event: EventRow) {
        self.hub.aside(Aside::Event(event));
    }

    /// A batch of `requests` queries was handed over.
    #[inline]
    pub fn batch_issued(&self, batch_id: u64, requests: u32) {
        self.hub.record(Entry::BatchIssued { batch_id, requests });
    }

    /// A query was handed over. `scheduled_ns` is when the load generator wanted it sent, on the run's clock, where
    /// that is known.
    #[inline]
    pub fn request_issued(
        &self,
        id: u64,
        sample_index: u64,
        batch_id: Option<u64>,
        scheduled_ns: Option<i64>,
    ) {
        self.hub.record(Entry::RequestIssued {
            id,
            sample_index,
            batch_id,
            scheduled_ns,
        });
    }

    /// The request's bytes went to the network, after any wait for a permit.
    #[inline]
    pub fn request_sent(&self, id: u64) {
        self.hub.record(Entry::RequestSent { id });
    }

    /// The first token of the answer arrived.
    #[inline]
    pub fn first_token(&self, id: u64) {
        self.hub.record(Entry::FirstToken { id });
    }

    /// The query was answered, well or not.
    #[inline]
    pub fn request_completed(&self, id: u64, how: Completed) {
        self.hub.record(Entry::Completed { id, how });
    }

    /// Why a request ended as it did, where [`Reason`] cannot say it. Overrides the completion's reason when it
    /// comes before or right after it. For failures: this one allocates.
    pub fn request_reason(&self, id: u64, reason: &str) {
        self.hub.aside(Aside::Reason {
            id,
            reason: Arc::from(reason),
        });
    }

    /// The last query of a batch was answered.
    #[inline]
    pub fn batch_completed(&self, batch_id: u64) {
        self.hub.record(Entry::BatchCompleted { batch_id });
    }

    /// How many calls were dropped because a ring or the channel of control events was full.
    pub fn dropped(&self) -> u64 {
        self.hub.dropped()
    }
}

/// How a request ended, in a fixed size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Completed {
    /// Answered in full, or not.
    pub outcome: Outcome,
    /// Index of the endpoint that served it.
    pub endpoint: u32,
    /// Prompt length in tokens, where the server told.
    pub prompt_tokens: Option<u32>,
    /// Output length in tokens, first token included.
    pub output_tokens: Option<u32>,
    /// The server's own times, where it told them.
    pub server: Option<ServerTimes>,
    /// Finish reason or cause of failure.
    pub reason: Reason,
}

impl Completed {
    /// A full answer of `output_tokens` tokens from the first endpoint.
    pub fn tokens(output_tokens: u32) -> Self {
        Self {
            output_tokens: Some(output_tokens),
            ..Self::new(Outcome::Completed, Reason::Unknown)
        }
    }

    /// A failure of the first endpoint.
    pub fn failed(reason: Reason) -> Self {
        Self::new(Outcome::Failed, reason)
    }

    fn new(outcome: Outcome, reason: Reason) -> Self {
        Self {
            outcome,
            endpoint: 0,
            prompt_tokens: None,
            output_tokens: None,
            server: None,
            reason,
        }
    }
}

/// Where a request's time went inside the server, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTimes {
    /// Waiting for its first scheduling.
    pub queue_ns: Option<i64>,
    /// From scheduling to the first token.
    pub prefill_ns: Option<i64>,
    /// From the first token to the last.
    pub decode_ns: Option<i64>,
    /// Told by the server, or estimated.
    pub source: TimeSource,
}

/// Why a request ended, as a value of fixed size. [`Hooks::request_reason`] takes free text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Not told.
    Unknown,
    /// End of sequence or a stop string.
    Stop,
    /// The token limit.
    Length,
    /// The server gave it up.
    Abort,
    /// Cancelled by the harness.
    Cancelled,
    /// No answer within the deadline.
    Timeout,
    /// No connection could be made.
    Connect,
    /// The connection broke before the end.
    Disconnected,
    /// The answer was not understood.
    BadResponse,
    /// Any other failure.
    Other,
    /// A status other than success.
    HttpStatus(u16),
}

impl Reason {
    /// The text kept in the `reason` column; `None` when there is nothing to tell.
    pub fn text(self) -> Option<Arc<str>> {
        Some(match self {
            Self::Unknown => return None,
            Self::Stop => Arc::from("stop"),
            Self::Length => Arc::from("length"),
            Self::Abort => Arc::from("abort"),
            Self::Cancelled => Arc::from("cancelled"),
            Self::Timeout => Arc::from("timeout"),
            Self::Connect => Arc::from("connect"),
            Self::Disconnected => Arc::from("disconnected"),
            Self::BadResponse => Arc::from("bad_response"),
            Self::Other => Arc::from("other"),
            Self::HttpStatus(status) => Arc::from(format!("http_{status}")),
        })
    }

    fn code(self) -> (u8, u16) {
        match self {
            Self::Unknown => (0, 0),
            Self::Stop => (1, 0),
            Self::Length => (2, 0),
            Self::Abort => (3, 0),
            Self::Cancelled => (4, 0),
            Self::Timeout => (5, 0),
            Self::Connect => (6, 0),
            Self::Disconnected => (7, 0),
            Self::BadResponse => (8, 0),
            Self::HttpStatus(status) => (9, status),
            Self::Other => (10, 0),
        }
    }

    fn from_code(code: u8, detail: u16) -> Self {
        match code {
            0 => Self::Unknown,
            1 => Self::Stop,
            2 => Self::Length,
            3 => Self::Abort,
            4 => Self::Cancelled,
            5 => Self::Timeout,
            6 => Self::Connect,
            7 => Self::Disconnected,
            8 => Self::BadResponse,
            9 => Self::HttpStatus(detail),
            _ => Self::Other,
        }
    }
}

/// Hooks and the reader that drains them, for `clock`.
pub(crate) fn hooks(
    clock: &RunClock,
    ring_words: usize,
    wake: Arc<tokio::sync::Notify>,
) -> (Hooks, HookReader) {
    let (hub, reader) = ring::hub(clock, ring_words, wake);
    (Hooks::new(hub), reader)
}
