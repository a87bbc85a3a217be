//! Requests, batches and engine steps: one row each.

use serde::{Deserialize, Serialize};

/// One request. Times are Unix nanoseconds, durations nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When it should have been issued.
    pub scheduled_ns: Option<i64>,
    /// When the harness issued it.
    pub issued_ns: i64,
    /// When the client sent it; `None` if it never did.
    pub sent_ns: Option<i64>,
    /// First content token.
    pub first_token_ns: Option<i64>,
    /// End of the answer, or of the attempt.
    pub done_ns: Option<i64>,
    /// Tokens in.
    pub prompt_tokens: Option<u32>,
    /// Tokens out.
    pub output_tokens: Option<u32>,
    /// Time in the server's queue.
    pub queue_ns: Option<i64>,
    /// Time of the server's prefill.
    pub prefill_ns: Option<i64>,
    /// Time of the server's decode.
    pub decode_ns: Option<i64>,
    /// How the three times above are known.
    pub time_source: Option<TimeSource>,
    /// How it ended.
    pub outcome: Outcome,
    /// Index in [`Run::servers`](super::Run::servers).
    pub server: u32,
}

/// How the server's times of a request are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The server reported them with the answer.
    Measured,
    /// Inferred from the server's histograms. Marked as an estimate.
    Estimate,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A complete answer.
    #[default]
    Completed,
    /// An error.
    Failed,
    /// Given up by the client.
    Cancelled,
    /// Not ended when the record ends.
    Open,
}

/// One dispatched batch of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// When it was issued, Unix nanoseconds.
    pub issued_ns: i64,
    /// When its last request ended.
    pub done_ns: Option<i64>,
    /// Number of requests.
    pub requests: u32,
    /// Number of failed requests.
    pub failed: u32,
}

/// One iteration of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// End of the step, Unix nanoseconds.
    pub end_ns: i64,
    /// Duration in nanoseconds.
    pub duration_ns: Option<i64>,
    /// Prompt tokens that were computed in it.
    pub prompt_tokens: u32,
    /// Output tokens that were computed in it.
    pub output_tokens: u32,
    /// Requests in the batch.
    pub requests: Option<u32>,
}

/// A limit of a latency, for example the one that a benchmark sets for the 99th percentile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestLimit {
    /// Which latency.
    pub metric: RequestMetric,
    /// For example `limit p99`.
    pub label: String,
    /// In seconds.
    pub seconds: f64,
}

/// A latency of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestMetric {
    /// Time to first token, from being sent.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// From being sent to the last token.
    E2e,
}
