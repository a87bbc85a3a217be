//! Talk to one vLLM server: token streams, health, version, control routes; start and stop its process.
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
//! Tokens are never invented: a completion either carries the ids that the server sent, or is marked as counted from
//! the server's `usage` only ([`TokenSource`]), or is a [`StreamError`] that says what the caller can do about it.
//! A [`Client`] never retries; [`StreamError::had_first_token`] tells whether a caller may. A [`Pool`] of replicas
//! does so where its policy says, only before the first token, and hands back every attempt.

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

pub use client::Client;
pub use completion::{Completion, FinishReason, FirstToken, ServerMetrics, TokenSource, Usage};
pub use config::{ApiKey, ClientConfig, Timeouts, TokenPolicy};
pub use control::{ModelInfo, PrefixCaching, Readiness, WaitReady};
pub use error::{ControlError, Received, StreamError, TimeoutKind};
pub use limits::{OpenFiles, raise_open_files_limit};
pub use pool::{
    Attempt, Pool, PoolBatchCompletion, PoolCompletion, PoolError, ReplicaStatus, RetryPolicy, Strategy,
};
pub use request::RequestBody;
pub use secrets::redact_args;
pub use unstreamed::BatchCompletion;
