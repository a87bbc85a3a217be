//! Checks an endpoint before a run: whether it answers, with a page of metrics, including the expected ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use exposition::{Event, Format, Parser};

use super::page::matches;
use super::{Fetcher, ScrapeError};
use crate::config::{EndpointConfig, SessionConfig};
use run_model::RunClock;
use run_model::{Error, Result};

/// An endpoint that answers with a page of metrics.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EndpointCheck {
    /// The endpoint's full URL, without credentials.
    pub endpoint_url: String,
    /// Time from request to last byte.
    pub took: Duration,
    /// Size of the page.
    pub body_bytes: usize,
    /// The `Content-Type` header, empty if there was none.
    pub content_type: String,
    /// Samples on the page.
    pub samples: usize,
    /// Names of the samples, sorted.
    pub names: Vec<Arc<str>>,
    /// Samples whose value is not a number.
    pub not_a_number: usize,
    /// Unreadable lines.
    pub bad_lines: usize,
}

/// Scrapes `endpoint` once and describes the page.
///
/// # Errors
///
/// [`Error::Config`] for an invalid endpoint. [`Error::Endpoint`] with the reason if there are no metrics:
/// the name does not resolve, the connection is refused, an error status, a timeout, wrong content, or none
/// of the expected metrics.
pub async fn check_endpoint(endpoint: EndpointConfig) -> Result<EndpointCheck> {
    let config = SessionConfig {
        endpoints: vec![endpoint],
        ..SessionConfig::default()
    }
    .resolve()?;
    let endpoint = &config.endpoints[0];
    let failed = |error: ScrapeError| Error::Endpoint {
        url: endpoint.shown_url.clone(),
        reason: error.to_string(),
    };
    let fetcher = Fetcher::new(endpoint, config.body_limit_bytes, &RunClock::start())?;
    let mut body = Vec::new();
    let fetched = fetcher
        .fetch(None, &mut body)
        .await
        .map_err(|(_, error)| failed(error))?;
    let mut names = BTreeSet::new();
    let (mut samples, mut not_a_number, mut bad_lines) = (0, 0, 0);
    for event in Parser::new(&body, Format::from_content_type(&fetched.content_type)) {
        match event {
            Event::Sample(sample) => {
                samples += 1;
                not_a_number += usize::from(sample.value.is_nan());
                names.insert(sample.name.text());
            }
            Event::Bad(_) => bad_lines += 1,
            _ => {}
        }
    }
    if samples == 0 {
        let what = format!("{:?}, {} bytes, no sample", fetched.content_type, body.len());
        return Err(failed(ScrapeError::WrongContent(what)));
    }
    let is_expected = |name: &str| endpoint.expect.iter().any(|pattern| matches(pattern, name));
    if !endpoint.expect.is_empty() && !names.iter().any(|name| is_expected(name)) {
        return Err(failed(ScrapeError::NoExpectedMetric(endpoint.expect.join(", "))));
    }
    Ok(EndpointCheck {
        endpoint_url: endpoint.shown_url.clone(),
        took: Duration::from_nanos(u64::try_from(fetched.end_ns - fetched.start_ns).unwrap_or(0)),
        body_bytes: body.len(),
        content_type: fetched.content_type,
        samples,
        names: names.iter().map(|name| Arc::from(name.as_ref())).collect(),
        not_a_number,
        bad_lines,
    })
}

/// Blocking variant of [`check_endpoint`], for callers without a runtime.
///
/// # Errors
///
/// As for [`check_endpoint`]. Must not be called on a runtime's thread.
pub fn validate_endpoint(endpoint: EndpointConfig) -> Result<EndpointCheck> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Start {
            what: "a runtime",
            source,
        })?
        .block_on(check_endpoint(endpoint))
}
