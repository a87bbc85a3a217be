//! Hooks for the harness: cheap calls that the session turns into request and batch rows.
//!
//! A call reads the processor's counter and copies seven words into its thread's ring. It never blocks and
//! never fails. It allocates in the first call of each thread, and when a burst fills the ring, which then
//! continues in one of twice the size. At the configured size, a full ring drops the entry and counts it; the
//! count is recorded as an event. The first call after an idle period also wakes the draining thread.
//!
//! Calls made a few times per run ([`Hooks::phase`], [`Hooks::event`], [`Hooks::request_reason`], …) are
//! control events: they go through a bounded channel and do not block either, but may allocate.

mod assemble;
mod entry;
mod ring;

use std::sync::Arc;

pub(crate) use assemble::Assembler;
pub(crate) use ring::{ControlEvent, HookCosts, HookReader};

use entry::Entry;
use ring::RingHub;
use run_model::RunClock;
use run_model::{EventRow, Outcome, TimeSource};

/// The harness's handle to a session. Cheap to clone, usable from any thread, no-op after the session ended.
#[derive(Debug, Clone)]
pub struct Hooks {
    hub: Arc<RingHub>,
}

impl Hooks {
    pub(crate) fn new(hub: Arc<RingHub>) -> Self {
        Self { hub }
    }

    /// Marks that the model answers; load time ends here. Forces a scrape.
    pub fn model_loaded(&self) {
        self.hub.control_event(ControlEvent::ModelLoaded {
            at_ns: self.hub.clock().now_ns(),
        });
    }

    /// Begins a phase of the run (`warmup`, `performance`, …), which lasts until the next one. Forces a
    /// scrape, so that there is a sample on both sides of the edge.
    pub fn phase(&self, name: &str) {
        self.hub.control_event(ControlEvent::Phase {
            at_ns: self.hub.clock().now_ns(),
            name: Arc::from(name),
        });
    }

    /// Marks that the last query was answered. Forces a scrape.
    pub fn test_completed(&self) {
        self.hub.control_event(ControlEvent::TestCompleted {
            at_ns: self.hub.clock().now_ns(),
        });
    }

    /// Records any other event as given.
    pub fn event(&self, event: EventRow) {
        self.hub.control_event(ControlEvent::Event(event));
    }

    /// Marks that a batch of `requests` queries was issued.
    #[inline]
    pub fn batch_issued(&self, batch_id: u64, requests: u32) {
        self.hub.record(Entry::BatchIssued { batch_id, requests });
    }

    /// Marks that a query was issued. `scheduled_ns` is the time at which the load generator intended to send
    /// it, on the run's clock, if known.
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

    /// Marks that the request's bytes were sent, after any wait for a permit.
    #[inline]
    pub fn request_sent(&self, id: u64) {
        self.hub.record(Entry::RequestSent { id });
    }

    /// Marks that the first token of the answer arrived.
    #[inline]
    pub fn first_token(&self, id: u64) {
        self.hub.record(Entry::FirstToken { id });
    }

    /// Marks that the query was answered, successfully or not.
    #[inline]
    pub fn request_completed(&self, id: u64, how: Completed) {
        self.hub.record(Entry::Completed { id, how });
    }

    /// Sets a reason that [`Reason`] cannot express. Overrides the completion's reason if called before or
    /// right after it. For failures only, since it allocates.
    pub fn request_reason(&self, id: u64, reason: &str) {
        self.hub.control_event(ControlEvent::Reason {
            id,
            reason: Arc::from(reason),
        });
    }

    /// Marks that the last query of a batch was answered.
    #[inline]
    pub fn batch_completed(&self, batch_id: u64) {
        self.hub.record(Entry::BatchCompleted { batch_id });
    }

    /// Number of calls dropped because a ring or the channel of control events was full.
    pub fn dropped(&self) -> u64 {
        self.hub.dropped()
    }
}

/// How a request ended, as a value of fixed size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Completed {
    /// Whether it was answered in full.
    pub outcome: Outcome,
    /// Index of the endpoint that served it.
    pub endpoint: u32,
    /// Prompt length in tokens, if reported by the server.
    pub prompt_tokens: Option<u32>,
    /// Output length in tokens, including the first.
    pub output_tokens: Option<u32>,
    /// The server's own times, if it reported them.
    pub server: Option<ServerTimes>,
    /// Finish reason or cause of failure.
    pub reason: Reason,
}

impl Completed {
    /// Creates a completion of `output_tokens` tokens from the first endpoint.
    pub fn tokens(output_tokens: u32) -> Self {
        Self {
            output_tokens: Some(output_tokens),
            ..Self::new(Outcome::Completed, Reason::Unknown)
        }
    }

    /// Creates a failure of the first endpoint.
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
    /// Whether the server reported the times or they are estimates.
    pub source: TimeSource,
}

/// Why a request ended, as a value of fixed size. [`Hooks::request_reason`] takes free text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Not reported.
    Unknown,
    /// End of sequence or a stop string.
    Stop,
    /// The token limit.
    Length,
    /// The server aborted it.
    Abort,
    /// Cancelled by the harness.
    Cancelled,
    /// No answer within the deadline.
    Timeout,
    /// No connection could be made.
    Connect,
    /// The connection broke before the end.
    Disconnected,
    /// The answer could not be parsed.
    BadResponse,
    /// Any other failure.
    Other,
    /// A status other than success.
    HttpStatus(u16),
}

impl Reason {
    /// The text stored in the `reason` column; `None` for [`Reason::Unknown`].
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

/// Creates hooks on `clock` and the reader that drains them.
pub(crate) fn hooks(
    clock: &RunClock,
    ring_words: usize,
    wake: Arc<tokio::sync::Notify>,
) -> (Hooks, HookReader) {
    let (hub, reader) = ring::hub(clock, ring_words, wake);
    (Hooks::new(hub), reader)
}
