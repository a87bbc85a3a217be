//! The HTTP side of a scrape: one GET into a reused buffer, with deadline, size limit and error reason.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
};

use super::ScrapeError;
use crate::config::Endpoint;
use run_model::{Error, Result};
use run_model::{RunClock, ShownUrl};

/// Prometheus text first, which vLLM renders fastest. OpenMetrics for servers that only have it.
const ACCEPTED: &str =
    "text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1";

/// Fetches one endpoint's page repeatedly over one kept-alive connection.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: reqwest::Client,
    url: reqwest::Url,
    timeout: Duration,
    limit_bytes: usize,
    clock: RunClock,
}

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    /// When the request was sent.
    pub(crate) start_ns: i64,
    /// When the last byte was read.
    pub(crate) end_ns: i64,
    /// The `Content-Type` header, empty if there was none.
    pub(crate) content_type: String,
}

impl Fetcher {
    pub(crate) fn new(endpoint: &Endpoint, limit_bytes: usize, clock: &RunClock) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        if let Some(authorization) = &endpoint.authorization {
            let mut value = HeaderValue::from_str(authorization.expose()).map_err(|_| {
                Error::config(format!("{}: authorization holds line breaks", endpoint.shown_url))
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = with_tls(reqwest::Client::builder(), endpoint)?
            .default_headers(headers)
            // A benchmark must not go through a proxy, and a page that moved must be reconfigured.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            .user_agent(concat!("vllm-metrics/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(
                |error| match (&endpoint.tls.ca_pem, std::error::Error::source(&error)) {
                    // Certificates are parsed only here.
                    (Some(_), Some(why)) => Error::config(format!("{}: ca_file: {why}", endpoint.shown_url)),
                    _ => Error::Start {
                        what: "an HTTP client",
                        source: io::Error::other(error),
                    },
                },
            )?;
        Ok(Self {
            client,
            url: endpoint.url.clone(),
            timeout: endpoint.timeout,
            limit_bytes,
            clock: clock.clone(),
        })
    }

    /// Sends one GET, to the endpoint's own URL unless another one of the same server is given. `body` is
    /// cleared and receives the page; it keeps its capacity between calls.
    pub(crate) async fn fetch(
        &self,
        url: Option<&reqwest::Url>,
        body: &mut Vec<u8>,
    ) -> Result<Fetched, (i64, ScrapeError)> {
        let start_ns = self.clock.now_ns();
        let result = tokio::time::timeout(self.timeout, self.get(url.unwrap_or(&self.url), body)).await;
        let content_type = match result {
            Ok(Ok(content_type)) => content_type,
            Ok(Err(error)) => return Err((start_ns, error)),
            Err(_) => return Err((start_ns, ScrapeError::Timeout(self.timeout))),
        };
        Ok(Fetched {
            start_ns,
            end_ns: self.clock.now_ns(),
            content_type,
        })
    }

    async fn get(&self, url: &reqwest::Url, body: &mut Vec<u8>) -> Result<String, ScrapeError> {
        body.clear();
        let mut response = match self.client.get(url.clone()).send().await {
            // The server closed the kept-alive connection between two scrapes, for example in a restart. That
            // is not a failed scrape: a new connection may work.
            Err(error) if is_stale_connection(&error) => self
                .client
                .get(url.clone())
                .send()
                .await
                .map_err(|error| reason(&error))?,
            other => other.map_err(|error| reason(&error))?,
        };
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if status.is_redirection()
            && let Some(to) = header(LOCATION).and_then(|to| url.join(to).ok())
        {
            return Err(ScrapeError::Moved {
                status: status.as_u16(),
                to: ShownUrl::new(&to).to_string(),
            });
        }
        if !status.is_success() {
            return Err(ScrapeError::Status(status.as_u16()));
        }
        // None was asked for, and this client decodes none.
        if let Some(encoding) = header(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(ScrapeError::WrongContent(format!(
                "it is compressed with {encoding}, which was not asked for"
            )));
        }
        if response
            .content_length()
            .is_some_and(|length| length > self.limit_bytes as u64)
        {
            return Err(ScrapeError::TooLarge(self.limit_bytes));
        }
        let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
        while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
            if body.len() + chunk.len() > self.limit_bytes {
                return Err(ScrapeError::TooLarge(self.limit_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(content_type)
    }
}

#[cfg(feature = "tls")]
fn with_tls(mut builder: reqwest::ClientBuilder, endpoint: &Endpoint) -> Result<reqwest::ClientBuilder> {
    if let Some(pem) = &endpoint.tls.ca_pem {
        let certificates = reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|error| Error::config(format!("{}: ca_file: {error}", endpoint.shown_url)))?;
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder.tls_danger_accept_invalid_certs(endpoint.tls.accept_any))
}

#[cfg(not(feature = "tls"))]
fn with_tls(builder: reqwest::ClientBuilder, endpoint: &Endpoint) -> Result<reqwest::ClientBuilder> {
    // Configuration rejects certificates without `https`, and `https` without the feature.
    if endpoint.tls.accept_any || endpoint.tls.ca_pem.is_some() {
        return Err(Error::config(format!(
            "{}: this build has no TLS; build with `--features tls`",
            endpoint.shown_url
        )));
    }
    Ok(builder)
}

fn is_stale_connection(error: &reqwest::Error) -> bool {
    !error.is_connect() && error.is_request() && matches!(reason(error), ScrapeError::Cut)
}

/// Finds the reason in a failed request's chain of causes.
fn reason(error: &reqwest::Error) -> ScrapeError {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    let mut deepest = error.to_string();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if text.contains("dns error") {
            return ScrapeError::Dns;
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return ScrapeError::Refused,
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => return ScrapeError::Cut,
                _ => {}
            }
        }
        // hyper's message for a connection that ended within a message.
        if text.contains("connection closed before message completed")
            || text.contains("end of file before message length reached")
            || text.contains("unexpected EOF during chunk")
        {
            return ScrapeError::Cut;
        }
        deepest = text;
        cause = inner.source();
    }
    ScrapeError::Transport(deepest)
}
