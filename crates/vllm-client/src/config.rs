//! How to reach one server: address, key, time limits, pool size, and what to do if it sends no token ids.

use std::fmt;
use std::time::Duration;

/// A bearer token. Its text never appears in `Debug` output, errors or logs.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps the key that follows `Bearer ` in the `Authorization` header.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// Time limits of one request. Every wait has one, so that no request can hang forever.
///
/// A completion that exceeds one fails with [`StreamError::Timeout`](crate::StreamError::Timeout), which names the
/// limit ([`TimeoutKind`](crate::TimeoutKind)). For an answer that is not streamed, only `connect` and `request`
/// apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the TCP connection is established. Default 5 s.
    pub connect: Duration,
    /// From the start of an attempt, connecting included, until the first chunk with a token, so also queueing in the
    /// server. Default 10 min, since long queues are normal under Offline load.
    pub first_token: Duration,
    /// Between two chunks after the first token. Default 2 min.
    pub between_chunks: Duration,
    /// The whole request; in a [`Pool`](crate::Pool) including all retries and the pauses between them. Default 1 h.
    pub request: Duration,
    /// A whole exchange with a control route (`/health`, `/version`, `/v1/models`, `/metrics`), and reading the body
    /// of an error status. Default 5 s.
    pub control: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(600),
            between_chunks: Duration::from_secs(120),
            request: Duration::from_secs(3600),
            control: Duration::from_secs(5),
        }
    }
}

/// What to do with a server that streams text but no token ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenPolicy {
    /// Fail the request: MLPerf needs the ids themselves.
    #[default]
    RequireIds,
    /// Take the count from the server's `usage` and mark the completion as
    /// [`TokenSource::UsageOnly`](crate::TokenSource::UsageOnly). Without `usage` the request still fails.
    AllowCountOnly,
}

/// How to reach one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Scheme, host and port, for example `http://127.0.0.1:8000`. A trailing `/` or `/v1` is accepted.
    pub base_url: String,
    /// Sent as `Authorization: Bearer …` with every request.
    pub api_key: Option<ApiKey>,
    /// PEM text of certificates to trust in addition to the system's, for `https`. Needs the feature `tls`.
    pub ca_pem: Option<Vec<u8>>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Idle connections kept for reuse. Set it to at least the number of requests in flight; otherwise
    /// connections are reopened under load. Default 1024.
    pub pool_size: usize,
    /// What to do if a server sends no token ids.
    pub token_policy: TokenPolicy,
    /// Also collect the text of the answer. Costs one JSON parse per chunk; off by default.
    pub keep_text: bool,
}

impl ClientConfig {
    /// Defaults for the server at `base_url`.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            ca_pem: None,
            timeouts: Timeouts::default(),
            pool_size: 1024,
            token_policy: TokenPolicy::default(),
            keep_text: false,
        }
    }
}
