//! The history of a request, in virtual time.

use std::time::Duration;

use crate::engine::FinishReason;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The server finished it.
    Finished(FinishReason),
    /// The server rejected it with this HTTP status: 503 by an admission limit, 500 when its engines are
    /// dead, 400 for a prompt or an output length that does not fit.
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// No server was running.
    ConnectionRefused,
    /// The server or its engine died while the request was in flight.
    Broken,
    /// The client gave up ([`VirtualServer::cancel`](super::VirtualServer::cancel)).
    Cancelled,
}

/// One request from its arrival to its end. Times are virtual, since the creation of the server; restarts do not reset
/// them. `queued`, `scheduled`, `cached_prompt_tokens` and `preemptions` are known from the engine's outputs: for a
/// request that ended before its first output they are `None` or 0, even if it was scheduled.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRecord {
    /// Requests are numbered from 0 in the order of their submission.
    pub number: u64,
    /// The engine that processed it; `None` if it was rejected.
    pub engine: Option<u32>,
    /// Length of its prompt.
    pub prompt_tokens: u32,
    /// Prompt tokens found in the prefix cache when it was first scheduled.
    pub cached_prompt_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// How often it was preempted.
    pub preemptions: u32,
    /// When it was submitted.
    pub arrival: Duration,
    /// When it had passed the front end.
    pub queued: Option<Duration>,
    /// When it was first scheduled.
    pub scheduled: Option<Duration>,
    /// When its first token left the engine.
    pub first_token: Option<Duration>,
    /// When its last token left the engine.
    pub last_token: Option<Duration>,
    /// When it ended, for any reason.
    pub ended: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// When each token left the engine; empty unless [`RunOptions::keep_token_times`](super::RunOptions::keep_token_times) is set.
    pub token_times: Vec<Duration>,
}

impl RequestRecord {
    /// True if the answer is complete.
    pub fn is_complete(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Finished(FinishReason::Stop | FinishReason::Length)
        )
    }

    /// Time to first token, from arrival.
    pub fn ttft(&self) -> Option<Duration> {
        Some(self.first_token?.saturating_sub(self.arrival))
    }

    /// Time per output token after the first: (last token − first token) / (tokens − 1). `None` below two tokens.
    pub fn tpot(&self) -> Option<Duration> {
        let decode = self.last_token?.saturating_sub(self.first_token?);
        match self.output_tokens {
            0 | 1 => None,
            n => Some(decode / (n - 1)),
        }
    }

    /// End-to-end latency, from arrival to the last token of a complete answer.
    pub fn e2e(&self) -> Option<Duration> {
        let last = self.last_token.filter(|_| self.is_complete())?;
        Some(last.saturating_sub(self.arrival))
    }
}
