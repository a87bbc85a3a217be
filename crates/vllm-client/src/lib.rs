//! Client for one vLLM server: token streams, health, version, control routes; starts and stops its process.
//!
//! A request body is prepared before the test with [`RequestBody`], so that the timed path does no JSON work:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use vllm_client::{Client, ClientConfig, RequestBody};
//!
//! let client = Client::new(ClientConfig::new("http://127.0.0.1:8000"))?;
//! let body = RequestBody::from_token_ids("my-model", &[1, 15043, 29892]).max_tokens(128).temperature(0.0).build();
//! let completion = client.complete(body, |first| println!("first token at {:?}", first.at)).await?;
//! println!("{} tokens", completion.n_tokens());
//! # Ok(())
//! # }
//! ```
//!
//! Tokens are never invented: a completion either carries the ids sent by the server, or is marked as counted
//! from the server's `usage` only ([`TokenSource`]). Otherwise the result is a [`StreamError`], which shows
//! what the caller can do.
//!
//! The server's answers are validated. Tokens beyond the request's `max_tokens`, after the finish reason or
//! after the end mark fail the answer, independent of TCP segmentation. A `usage` that disagrees with the ids
//! or cannot be read, and an answer from another model, are [`Remark`]s on the completion: count them.
//!
//! A [`Client`] sends a request again only once, and only if a kept connection had been closed before any
//! byte of the answer ([`Remark::SentAgain`]). [`StreamError::is_retryable`] shows whether a caller may send
//! it again. A [`Pool`] of replicas retries where its policy allows and only before the first token, waits as
//! long as the server requests (`Retry-After`), and returns every attempt.
//!
//! Limits: an event 32 MiB, an answer its `max_tokens` or 4,194,304 tokens, its text and an unstreamed answer 256 MiB, a
//! control answer 64 MiB; [`Timeouts`] for the times.

mod answer;
mod chunk;
mod client;
mod completion;
mod config;
mod control;
mod error;
mod limits;
mod pool;
mod request;
mod secrets;
pub mod server;
mod sse;
mod unstreamed;

pub use answer::{
    Completion, FinishReason, FirstToken, PromptTokensDetails, Remark, ServerMetrics, TokenSource, Usage,
};
pub use client::Client;
pub use config::{ApiKey, ClientConfig, Timeouts, TokenPolicy};
pub use control::{ModelInfo, PrefixCaching, Readiness, WaitReady};
pub use error::{ControlError, Received, StreamError, TimeoutKind};
pub use limits::{OpenFiles, raise_open_files_limit};
pub use pool::{
    Attempt, Pool, PoolBatchCompletion, PoolCompletion, PoolError, ReplicaStatus, RetryPolicy, Strategy,
};
pub use request::RequestBody;
pub use secrets::{redact_args, redact_url};
pub use unstreamed::BatchCompletion;
