//! A finished completion, and the gathering of one from the chunks of a stream.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::chunk::{self, Chunk};
use crate::config::TokenPolicy;
use crate::error::{Received, StreamError, excerpt};
use crate::sse::CutError;

/// The first token of an answer, as given to the callback of [`Client::complete`](crate::Client::complete).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstToken {
    /// When the bytes that hold it were handed to us; read before they were looked at.
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
    /// Any other word of the server.
    Other(String),
}

impl FinishReason {
    /// The server's word.
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
    pub prompt_tokens: u64,
    /// Tokens generated. Absent in some servers' first chunks.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Where the server tells: how much of the prompt came from its prefix cache.
    #[serde(default)]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
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
    /// The ids themselves came.
    Ids,
    /// No ids came; the count is the server's `usage`.
    UsageOnly,
}

/// A completed answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The generated ids, the first token's included. Empty under [`TokenSource::UsageOnly`].
    pub token_ids: Vec<i32>,
    /// Whether [`Completion::n_tokens`] counts ids or repeats the server's count.
    pub token_source: TokenSource,
    /// The answer's text; only with [`ClientConfig::keep_text`](crate::ClientConfig::keep_text).
    pub text: Option<String>,
    /// Why generation ended; `None` when the server did not say.
    pub finish_reason: Option<FinishReason>,
    /// The server's counts, when sent.
    pub usage: Option<Usage>,
    /// The server's own times, when sent.
    pub server_metrics: Option<ServerMetrics>,
    /// The server's id of the request (`cmpl-…`), where a chunk that was parsed in full carried it.
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
}

impl Completion {
    /// Generated tokens: ids where they came, else the server's count.
    pub fn n_tokens(&self) -> usize {
        match self.token_source {
            TokenSource::Ids => self.token_ids.len(),
            TokenSource::UsageOnly => self
                .usage
                .map_or(0, |u| usize::try_from(u.completion_tokens).unwrap_or(usize::MAX)),
        }
    }

    /// Whether the server's count is that of the ids; `None` when there is nothing to compare.
    pub fn usage_agrees(&self) -> Option<bool> {
        match self.token_source {
            TokenSource::Ids => self
                .usage
                .map(|u| u.completion_tokens == self.token_ids.len() as u64),
            TokenSource::UsageOnly => None,
        }
    }

    /// The ids as LoadGen and the accuracy scripts take them: 32-bit little-endian.
    pub fn token_bytes(&self) -> Vec<u8> {
        self.token_ids.iter().flat_map(|id| id.to_le_bytes()).collect()
    }
}

/// Gathers one completion from event data in order of arrival.
#[derive(Debug)]
pub(crate) struct Gatherer {
    keep_text: bool,
    ids: Vec<i32>,
    text: String,
    text_chunks: usize,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    metrics: Option<ServerMetrics>,
    request_id: Option<String>,
    chunks: usize,
    first_at: Option<Instant>,
    last_at: Option<Instant>,
    longest_gap: Option<Duration>,
    done: bool,
}

impl Gatherer {
    pub(crate) fn new(keep_text: bool) -> Self {
        Self {
            keep_text,
            // Enough for the short answers; longer ones double a few times.
            ids: Vec::with_capacity(128),
            text: String::new(),
            text_chunks: 0,
            finish: None,
            usage: None,
            metrics: None,
            request_id: None,
            chunks: 0,
            first_at: None,
            last_at: None,
            longest_gap: None,
            done: false,
        }
    }

    pub(crate) fn received(&self) -> Received {
        Received {
            first_token: self.first_at.is_some(),
            tokens: self.ids.len(),
        }
    }

    pub(crate) fn done(&self) -> bool {
        self.done
    }

    /// Takes the data of one event whose bytes arrived at `at`. Returns the first token if this event brought it.
    pub(crate) fn event(&mut self, data: &[u8], at: Instant) -> Result<Option<FirstToken>, StreamError> {
        let before = self.ids.len();
        if !self.keep_text
            && !self.done
            && let Some(scanned) = chunk::scan(data, &mut self.ids)
        {
            if let Some(word) = scanned.finish {
                self.finish(FinishReason::from(String::from_utf8_lossy(word).into_owned()))?;
            }
            let new = self.ids.len() - before;
            return Ok(self.arrived(before, new, new > 0, at));
        }
        if self.done {
            return Err(self.malformed("data after the end mark [DONE]", data));
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(None);
        }
        let chunk: Chunk = serde_json::from_slice(data)
            .map_err(|e| self.malformed(&format!("not a completion chunk: {e}"), data))?;
        self.chunk(chunk, data, at)
    }

    /// Takes one parsed chunk, or a whole unstreamed answer.
    pub(crate) fn chunk(
        &mut self,
        chunk: Chunk,
        data: &[u8],
        at: Instant,
    ) -> Result<Option<FirstToken>, StreamError> {
        if let Some(error) = chunk.error {
            return Err(self.server_error(&error));
        }
        if chunk.object.as_deref() == Some("error") {
            let value = serde_json::from_slice(data).unwrap_or_default();
            return Err(self.server_error(&value));
        }
        if chunk.choices.is_none() && chunk.usage.is_none() {
            return Err(self.malformed("neither choices nor usage", data));
        }
        self.request_id = chunk.id.or(self.request_id.take());
        self.usage = chunk.usage.or(self.usage);
        self.metrics = chunk.metrics.or(self.metrics);
        let mut choices = chunk.choices.unwrap_or_default().into_iter();
        let Some(choice) = choices.next() else {
            return Ok(None);
        };
        if choice.index != 0 || choices.next().is_some() {
            return Err(self.malformed("more than one answer (n or several prompts in one request)", data));
        }
        let before = self.ids.len();
        let ids = choice.token_ids.unwrap_or_default();
        if let Some(id) = ids.iter().find(|id| **id < 0) {
            return Err(self.malformed(&format!("token id {id} is negative"), data));
        }
        self.ids.extend_from_slice(&ids);
        let text = choice.text.unwrap_or_default();
        if !text.is_empty() && ids.is_empty() {
            self.text_chunks += 1;
        }
        if self.keep_text {
            self.text.push_str(&text);
        }
        if let Some(reason) = choice.finish_reason {
            self.finish(reason)?;
        }
        Ok(self.arrived(before, ids.len(), !ids.is_empty() || !text.is_empty(), at))
    }

    fn arrived(&mut self, before: usize, new: usize, any: bool, at: Instant) -> Option<FirstToken> {
        if !any {
            return None;
        }
        self.chunks += 1;
        if let Some(last) = self.last_at.replace(at) {
            self.longest_gap = self.longest_gap.max(Some(at.saturating_duration_since(last)));
        }
        if self.first_at.is_some() {
            return None;
        }
        self.first_at = Some(at);
        Some(FirstToken {
            at,
            token_id: self.ids.get(before).copied(),
            tokens_in_chunk: new,
        })
    }

    fn finish(&mut self, reason: FinishReason) -> Result<(), StreamError> {
        // What vLLM says when the engine dropped the request: the answer is cut, whatever came before it.
        if matches!(reason.as_str(), "abort" | "error") {
            return Err(StreamError::Server {
                message: "the server ended the request before it was complete".to_owned(),
                kind: reason.as_str().to_owned(),
                code: 0,
                received: self.received(),
            });
        }
        self.finish = Some(reason);
        Ok(())
    }

    fn server_error(&self, error: &serde_json::Value) -> StreamError {
        let text = |key: &str| {
            error
                .get(key)
                .and_then(|v| v.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let code = error
            .get("code")
            .and_then(|c| c.as_u64().or_else(|| c.as_str()?.parse().ok()));
        StreamError::Server {
            message: if error.is_string() {
                error.as_str().unwrap_or_default().to_owned()
            } else {
                text("message")
            },
            kind: text("type"),
            code: code.and_then(|c| u16::try_from(c).ok()).unwrap_or(0),
            received: self.received(),
        }
    }

    pub(crate) fn malformed(&self, reason: &str, line: &[u8]) -> StreamError {
        StreamError::Malformed {
            reason: reason.to_owned(),
            line: excerpt(line),
            received: self.received(),
        }
    }

    pub(crate) fn cut_error(&self, error: CutError) -> StreamError {
        let (reason, line) = match error {
            CutError::UnknownField(line) => ("a line that no event stream has", line),
            CutError::TooLong => ("an event without an end", String::new()),
        };
        StreamError::Malformed {
            reason: reason.to_owned(),
            line,
            received: self.received(),
        }
    }

    /// The completion, if what came makes one.
    pub(crate) fn into_completion(
        self,
        policy: TokenPolicy,
        sent_at: Instant,
        finished_at: Instant,
    ) -> Result<Completion, StreamError> {
        let usage_tokens = self.usage.map(|u| u.completion_tokens);
        let without_ids =
            self.ids.is_empty() && (self.text_chunks > 0 || usage_tokens.is_some_and(|n| n > 0));
        // Some chunks with ids and some with text alone is normal: a stop text held back is flushed at the end.
        let token_source = match (without_ids, policy, usage_tokens) {
            (false, _, _) => TokenSource::Ids,
            (true, TokenPolicy::AllowCountOnly, Some(_)) => TokenSource::UsageOnly,
            (true, _, _) => {
                return Err(StreamError::NoTokenIds {
                    text_chunks: self.text_chunks,
                    usage_tokens,
                });
            }
        };
        Ok(Completion {
            token_ids: self.ids,
            token_source,
            text: self.keep_text.then_some(self.text),
            finish_reason: self.finish,
            usage: self.usage,
            server_metrics: self.metrics,
            request_id: self.request_id,
            sent_at,
            first_token_at: self.first_at,
            finished_at,
            chunks: self.chunks,
            longest_gap: self.longest_gap,
        })
    }
}
