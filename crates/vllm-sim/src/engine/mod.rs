//! The engine: a pure state machine in virtual time. No clock, no thread, no socket: the caller passes `now`.
//!
//! `submit` queues a request, `begin_step` plans one step and returns when it ends, `finish_step` returns its
//! tokens. The scheduler follows vLLM's: running requests first, in order of arrival, then waiting ones while
//! the token budget, the sequence limit and the KV blocks last. When blocks run out, the youngest running
//! request returns to the head of the queue and is later recomputed.

mod blocks;
#[cfg(test)]
mod fidelity;
mod scheduler;
mod sequence;
mod stats;

pub(crate) use scheduler::{Dropped, Engine};
pub(crate) use stats::EngineStats;

use std::sync::Arc;

/// Virtual nanoseconds since the engine's origin.
pub(crate) type Nanos = u64;

/// Why a request ended. A request whose client disconnected has not ended; vLLM's other reasons do not occur
/// here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended on its own.
    Stop,
    /// `max_tokens` or the longest sequence was reached.
    Length,
    /// The server ended it: a pause or a sleep that aborts, or an abort by an operator.
    Abort,
}

impl FinishReason {
    /// Number of reasons.
    pub(crate) const COUNT: usize = 3;

    /// The API's `finish_reason`, and the label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
        }
    }
}

/// A generation request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Returned with every token; opaque to the engine.
    pub(crate) route: u64,
    /// At least one token, and at least one fewer than the longest sequence.
    pub(crate) prompt: Arc<[u32]>,
    /// At least 1; clamped to the longest sequence.
    pub(crate) max_tokens: u32,
    /// The model does not end on its own before this many.
    pub(crate) min_tokens: u32,
    /// The model never ends on its own.
    pub(crate) ignore_eos: bool,
    /// Mixed into the answer's seed.
    pub(crate) seed: u64,
    /// A known answer instead of a generated one.
    pub(crate) reference: Option<Arc<[u32]>>,
}

/// The engine's next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Idle until a request arrives or the pause ends.
    Idle,
    /// Idle until then: the next request is passing the front end.
    Wait { until: Nanos },
    /// A step, which ends at this time.
    Step { end: Nanos },
}

/// Identifies a request within one engine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RequestId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// A request that an engine has not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) id: RequestId,
    pub(crate) arrival: Nanos,
    /// Prompt and output so far.
    pub(crate) tokens: u32,
}

/// One generated token, or the end of a request without one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Output {
    pub(crate) route: u64,
    /// `None` only for a request that was aborted.
    pub(crate) token: Option<u32>,
    /// Set on the last output of a request.
    pub(crate) finish: Option<FinishReason>,
    /// Prompt tokens that came from the prefix cache.
    pub(crate) cached_prompt_tokens: u32,
    /// Times the request was preempted so far.
    pub(crate) preemptions: u32,
    /// The request's life so far; complete on its last output.
    pub(crate) timing: Timing,
}

/// What happens to the requests in flight when an engine is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PauseMode {
    /// They end at once with reason `abort`: vLLM's default.
    #[default]
    Abort,
    /// They run to their end; requests that come meanwhile are held back.
    Wait,
    /// They stop and continue after the pause.
    Keep,
}

impl PauseMode {
    /// The mode of this name: `abort`, `wait` or `keep`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "abort" => Some(Self::Abort),
            "wait" => Some(Self::Wait),
            "keep" => Some(Self::Keep),
            _ => None,
        }
    }
}

/// Which part of the memory a sleep level has given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sleep {
    /// 1 or 2 while the weights are given up, otherwise 0.
    pub(crate) weights_level: u8,
    /// The KV cache is given up.
    pub(crate) kv_cache: bool,
}

impl Sleep {
    pub(crate) fn is_asleep(self) -> bool {
        self.weights_level > 0 || self.kv_cache
    }
}

/// Times of a request's events, in virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Timing {
    pub(crate) arrival: Nanos,
    /// When it had passed the front end and entered the queue.
    pub(crate) queued: Nanos,
    /// Set at the first scheduling; a preemption does not start the clock again.
    pub(crate) scheduled: Nanos,
    pub(crate) is_scheduled: bool,
    pub(crate) first_token: Nanos,
    pub(crate) last_token: Nanos,
}

#[cfg(test)]
mod tests;
