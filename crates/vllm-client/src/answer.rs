//! The parts of an answer: the first token, the counts, the server's times, and the completed answer.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// The first token of an answer, as given to the callback of [`Client::complete`](crate::Client::complete).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstToken {
    /// When its bytes were received; the clock is read before they are parsed.
    pub at: Instant,
    /// Its id; `None` when the server sends text without ids.
    pub token_id: Option<i32>,
    /// How many tokens the chunk held: more than 1 under speculative decoding, or when the server batches chunks.
    /// 0 when the server sends no ids.
    pub tokens_in_chunk: usize,
}

/// Why the server stopped generating.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum FinishReason {
    /// End-of-sequence token or a stop text.
    Stop,
    /// `max_tokens` or the model's length.
    Length,
    /// Any other reason sent by the server.
    Other(String),
}

impl FinishReason {
    /// The reason as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for FinishReason {
    fn from(word: String) -> Self {
        match word.as_str() {
            "stop" => Self::Stop,
            "length" => Self::Length,
            _ => Self::Other(word),
        }
    }
}

/// The server's own token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(deserialize_with = "count")]
    pub prompt_tokens: u64,
    /// Tokens generated. Absent in some servers' first chunks.
    #[serde(default, deserialize_with = "count")]
    pub completion_tokens: u64,
    /// How much of the prompt came from the server's prefix cache, if it says so.
    #[serde(default)]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
}

/// A whole number, also if written as `5.0`.
fn count<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = |value: f64| (value >= 0.0 && value.fract() == 0.0 && value < 9e15).then_some(value as u64);
    number
        .as_u64()
        .or_else(|| whole(number.as_f64()?))
        .ok_or_else(|| serde::de::Error::custom(format!("{number} is not a count")))
}

/// An invalid `usage` becomes `None`, since it must not fail an answer that is otherwise complete.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum MaybeUsage {
    Told(Usage),
    Odd(serde_json::Value),
}

/// Part of [`Usage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct PromptTokensDetails {
    /// Prompt tokens found in the prefix cache.
    #[serde(default)]
    pub cached_tokens: Option<u64>,
}

/// What the server measured for this request (`--enable-per-request-metrics`). All in milliseconds, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
pub struct ServerMetrics {
    /// Waiting in the engine's queue.
    pub queue_time_ms: Option<f64>,
    /// From arrival to the first token, inside the server.
    pub time_to_first_token_ms: Option<f64>,
    /// From the first token to the last.
    pub generation_time_ms: Option<f64>,
    /// Mean gap between tokens.
    pub mean_itl_ms: Option<f64>,
    /// Generated tokens per second.
    pub tokens_per_second: Option<f64>,
}

/// Where the token count of a completion comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenSource {
    /// The ids were received.
    Ids,
    /// No ids were received; the count is the server's `usage`.
    UsageOnly,
}

/// An irregularity in an answer that is nevertheless complete. Count them: they cast doubt on the server's
/// figures or on a proxy between it and this client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// The server's count differs from the number of ids received.
    UsageDisagrees {
        /// Number of ids received.
        ids: u64,
        /// The server's count.
        usage: u64,
    },
    /// The `usage` object cannot be read and counts as not sent.
    UsageUnreadable {
        /// Its beginning.
        usage: String,
    },
    /// The answer names another model than the request.
    OtherModel {
        /// The name in the request.
        asked: String,
        /// The name in the answer.
        answered: String,
    },
    /// A kept connection was closed by the server before it answered, and the request was sent again at once on a new
    /// one. HTTP allows a server to close an idle connection at any time.
    SentAgain,
}

impl Remark {
    /// A short fixed word for counting remarks by kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UsageDisagrees { .. } => "usage_disagrees",
            Self::UsageUnreadable { .. } => "usage_unreadable",
            Self::OtherModel { .. } => "other_model",
            Self::SentAgain => "sent_again",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UsageDisagrees { ids, usage } => {
                write!(f, "the server counts {usage} tokens and sent {ids} token ids")
            }
            Self::UsageUnreadable { usage } => write!(f, "usage cannot be read and is ignored: {usage}"),
            Self::OtherModel { asked, answered } => {
                write!(f, "the answer is from model {answered:?}, {asked:?} was asked")
            }
            Self::SentAgain => f.write_str(
                "the server closed a kept connection before it answered; the request was sent again on a new one",
            ),
        }
    }
}

/// A completed answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The generated ids, the first token's included. Empty under [`TokenSource::UsageOnly`].
    pub token_ids: Vec<i32>,
    /// Whether [`Completion::n_tokens`] counts ids or returns the server's count.
    pub token_source: TokenSource,
    /// The answer's text; only with [`ClientConfig::keep_text`](crate::ClientConfig::keep_text).
    pub text: Option<String>,
    /// Why generation ended; `None` if the server did not report it.
    pub finish_reason: Option<FinishReason>,
    /// The server's counts, when sent.
    pub usage: Option<Usage>,
    /// The server's own times, when sent.
    pub server_metrics: Option<ServerMetrics>,
    /// The server's id of the request (`cmpl-…`), if a fully parsed chunk carried it.
    pub request_id: Option<String>,
    /// When the request was handed to the connection pool.
    pub sent_at: Instant,
    /// When the first token's bytes arrived. `None` for an empty answer, and for an unstreamed one.
    pub first_token_at: Option<Instant>,
    /// When the end mark arrived.
    pub finished_at: Instant,
    /// Chunks that carried tokens or text.
    pub chunks: usize,
    /// The longest gap between two of them.
    pub longest_gap: Option<Duration>,
    /// Irregularities; empty for a normal answer.
    pub remarks: Vec<Remark>,
}

impl Completion {
    /// Generated tokens: the number of ids if there are any, otherwise the server's count.
    pub fn n_tokens(&self) -> usize {
        match self.token_source {
            TokenSource::Ids => self.token_ids.len(),
            TokenSource::UsageOnly => self
                .usage
                .map_or(0, |u| usize::try_from(u.completion_tokens).unwrap_or(usize::MAX)),
        }
    }

    /// Whether the server's count equals the number of ids; `None` if there is nothing to compare.
    pub fn usage_agrees(&self) -> Option<bool> {
        match self.token_source {
            TokenSource::Ids => self
                .usage
                .map(|u| u.completion_tokens == self.token_ids.len() as u64),
            TokenSource::UsageOnly => None,
        }
    }

    /// The ids in the format of LoadGen and the accuracy scripts: 32-bit little-endian.
    pub fn token_bytes(&self) -> Vec<u8> {
        self.token_ids.iter().flat_map(|id| id.to_le_bytes()).collect()
    }
}
