//! The engine: a pure state machine in virtual time. No clock, no thread, no socket; whoever drives it brings `now`.
//!
//! `submit` queues a request, `begin_step` plans one step and says when it ends, `finish_step` yields its tokens.
//! The scheduler follows vLLM's: running requests first, in order of arrival, then waiting ones while the token
//! budget, the sequence limit and the KV blocks last; when blocks run out the youngest running request is put back
//! to the head of the queue and later computes everything again.

mod blocks;
#[cfg(test)]
mod fidelity;
mod scheduler;
mod sequence;
mod stats;

pub(crate) use scheduler::Engine;
pub(crate) use stats::EngineStats;

use std::sync::Arc;

/// Virtual nanoseconds since the engine's origin.
pub(crate) type Nanos = u64;

/// Why a request ended. A request that is dropped has not ended; the other reasons vLLM knows never happen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FinishReason {
    /// The model ended on its own.
    Stop,
    /// `max_tokens` or the longest sequence was reached.
    Length,
}

impl FinishReason {
    /// How many there are.
    pub(crate) const COUNT: usize = 2;

    /// The API's `finish_reason`, and the label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// One generation to be done.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Given back with every token; the engine does not look into it.
    pub(crate) route: u64,
    /// At least one token, and room for one more below the longest sequence.
    pub(crate) prompt: Arc<[u32]>,
    /// At least 1; clamped to the longest sequence.
    pub(crate) max_tokens: u32,
    /// The model does not end on its own before this many.
    pub(crate) min_tokens: u32,
    /// The model never ends on its own.
    pub(crate) ignore_eos: bool,
    /// Mixed into the answer's seed.
    pub(crate) seed: u64,
    /// A known answer instead of an invented one.
    pub(crate) reference: Option<Arc<[u32]>>,
}

/// What the engine does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing, until a request comes or the pause ends.
    Idle,
    /// Nothing until then: the next request is on its way through the front end.
    Wait { until: Nanos },
    /// A step, which ends then.
    Step { end: Nanos },
}

/// Identifies a request within one engine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RequestId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// One generated token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Output {
    pub(crate) route: u64,
    pub(crate) token: u32,
    /// Set on the last token of a request.
    pub(crate) finish: Option<FinishReason>,
    /// The request's life so far; complete on its last token.
    pub(crate) timing: Timing,
}

/// When things happened to a request, in virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Timing {
    pub(crate) arrival: Nanos,
    /// Through the front end and in the queue.
    pub(crate) queued: Nanos,
    pub(crate) scheduled: Nanos,
    pub(crate) first_token: Nanos,
    pub(crate) last_token: Nanos,
}

#[cfg(test)]
mod tests;
