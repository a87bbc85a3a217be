//! Errors, grouped by what the caller can do about them: one type for a completion, one for the control
//! routes.
//!
//! There are two types because a failed completion must be answered (and perhaps sent again), while a failed
//! control route is only reported; neither caller needs the other's variants.

use std::fmt;
use std::time::Duration;

/// What had arrived when a stream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Whether a chunk with a token had arrived, and so whether the first-token callback had been called.
    pub first_token: bool,
    /// Token ids that had arrived; 0 for a server that sends none.
    pub tokens: usize,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first_token, self.tokens) {
            (false, _) => f.write_str("before the first token"),
            (true, 0) => f.write_str("after the first text"),
            (true, 1) => f.write_str("after 1 token"),
            (true, n) => write!(f, "after {n} tokens"),
        }
    }
}

/// Which limit of [`Timeouts`](crate::Timeouts) was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutKind {
    /// The TCP connection was not established in time.
    Connect,
    /// No token in time.
    FirstToken,
    /// The stream stalled.
    BetweenChunks,
    /// The whole request took too long.
    Request,
}

impl fmt::Display for TimeoutKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::FirstToken => "first token",
            Self::BetweenChunks => "between chunks",
            Self::Request => "whole request",
        })
    }
}

/// Why a completion failed. None of these carries tokens that the server did not send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// No connection: nothing was sent, so sending elsewhere or later is safe.
    #[error("cannot connect to {url}: {reason}")]
    Refused {
        /// The server's base URL.
        url: String,
        /// The error of the operating system or resolver.
        reason: String,
    },
    /// The connection broke. Before the first token the request may be sent again; the server may have worked on it.
    #[error("connection to {url} broke {received}: {reason}")]
    Reset {
        /// The server's base URL.
        url: String,
        /// What had arrived.
        received: Received,
        /// The connection's error.
        reason: String,
    },
    /// The server answered with a status other than 200. 503 and 429 mean: reduce the load or retry later.
    #[error("{url} answered with status {code}: {body}")]
    Status {
        /// The server's base URL.
        url: String,
        /// HTTP status code.
        code: u16,
        /// Wait requested by the server before another attempt (`Retry-After`).
        retry_after: Option<Duration>,
        /// The first 512 bytes of the body.
        body: String,
    },
    /// A time limit was exceeded.
    #[error("the limit of {} ({kind}) passed {received}", duration_text::Shown(*.limit))]
    Timeout {
        /// Which limit.
        kind: TimeoutKind,
        /// Its value.
        limit: Duration,
        /// What had arrived.
        received: Received,
    },
    /// The body ended cleanly without `[DONE]`.
    #[error("the stream ended {received} without its end mark [DONE]")]
    Truncated {
        /// What had arrived.
        received: Received,
    },
    /// The data received is not a token stream: the server is not vLLM, or a proxy answered.
    #[error("not a completion stream {received}: {reason}: {line:?}")]
    Malformed {
        /// What was expected.
        reason: String,
        /// The first 200 bytes received instead.
        line: String,
        /// What had arrived.
        received: Received,
    },
    /// The server reported an error inside a stream that had started with status 200, or aborted the request.
    #[error("the server reported {received}: {message} (type {kind}, code {code})")]
    Server {
        /// The error object's `message`.
        message: String,
        /// Its `type`; empty when absent.
        kind: String,
        /// Its `code`; 0 when absent.
        code: u16,
        /// What had arrived.
        received: Received,
    },
    /// The server sent an answer without token ids. Ask for them (`return_token_ids`, which
    /// [`RequestBody`](crate::RequestBody) does) from vLLM 0.10.2 or newer, or set
    /// [`TokenPolicy::AllowCountOnly`](crate::TokenPolicy::AllowCountOnly).
    #[error(
        "the server sent {text_chunks} chunks of text and no token ids ({}): \
         it needs return_token_ids (vLLM 0.10.2 or newer), or allow count-only results",
        usage_tokens.map_or("no usage came".to_owned(), |tokens| format!("usage says {tokens} tokens"))
    )]
    NoTokenIds {
        /// Chunks of text that arrived.
        text_chunks: usize,
        /// What `usage` said, when it came.
        usage_tokens: Option<u64>,
    },
}

impl StreamError {
    /// What had arrived before the failure.
    pub fn received(&self) -> Received {
        match self {
            Self::Refused { .. } | Self::Status { .. } => Received::default(),
            Self::NoTokenIds { text_chunks, .. } => Received {
                first_token: *text_chunks > 0,
                tokens: 0,
            },
            Self::Reset { received, .. }
            | Self::Timeout { received, .. }
            | Self::Truncated { received }
            | Self::Malformed { received, .. }
            | Self::Server { received, .. } => *received,
        }
    }

    /// Whether the first-token callback was called before the failure. If so, the request must not be sent
    /// again.
    pub fn had_first_token(&self) -> bool {
        self.received().first_token
    }

    /// Whether sending the same request again may help: nothing was streamed, and the cause is the connection or a
    /// server that is overloaded or restarting, not the request itself.
    pub fn is_retryable(&self) -> bool {
        !self.had_first_token()
            && match self {
                Self::Refused { .. } | Self::Reset { .. } | Self::Truncated { .. } => true,
                Self::Status { code, .. } => matches!(code, 408 | 429 | 500 | 502 | 503 | 504),
                Self::Timeout { kind, .. } => *kind == TimeoutKind::Connect,
                Self::Server { code, .. } => *code == 429 || *code >= 500,
                Self::Malformed { .. } | Self::NoTokenIds { .. } => false,
            }
    }

    /// Wait requested by the server before another attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A short fixed word for counting failures by kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Reset { .. } => "reset",
            Self::Status { .. } => "status",
            Self::Timeout { .. } => "timeout",
            Self::Truncated { .. } => "truncated",
            Self::Malformed { .. } => "malformed",
            Self::Server { .. } => "server_error",
            Self::NoTokenIds { .. } => "no_token_ids",
        }
    }
}

/// Why a client could not be created, or a control route gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The base URL cannot be used.
    #[error("server url {url:?}: {reason}")]
    BadUrl {
        /// As given, without user and password.
        url: String,
        /// The problem and a valid alternative.
        reason: String,
    },
    /// A setting cannot be used.
    #[error("client setting {key}: {reason}")]
    BadSetting {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The server cannot be reached or did not answer in time.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The full URL of the route.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The server answered with something other than 200.
    #[error("{url} answered with status {code}: {body}")]
    Status {
        /// The full URL of the route.
        url: String,
        /// HTTP status code.
        code: u16,
        /// The first 512 bytes of the body.
        body: String,
    },
    /// The answer is not that of this route of a vLLM server.
    #[error("{url} gave an unexpected answer: {reason}")]
    Unexpected {
        /// The full URL of the route.
        url: String,
        /// What was expected and what was received.
        reason: String,
    },
    /// The server was not ready in time.
    #[error("{url} is not ready after {:.1} s: {reason}", .waited.as_secs_f64())]
    NotReady {
        /// The server's base URL.
        url: String,
        /// How long it was waited for.
        waited: Duration,
        /// The first part that is still missing.
        reason: String,
    },
}

/// The beginning of an unexpected text, for a message.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_decimal() {
        let error = ControlError::NotReady {
            url: "http://a".into(),
            waited: Duration::from_nanos(9_814_584_901),
            reason: "no answer".into(),
        };
        assert_eq!(error.to_string(), "http://a is not ready after 9.8 s: no answer");
    }
}
