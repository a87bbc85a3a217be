//! Fetching a page with one bounded GET, and parsing it into samples.

#[cfg(feature = "http")]
mod check;
#[cfg(feature = "http")]
mod fetch;
mod ingest;
mod page;
mod series;

#[cfg(feature = "http")]
pub use check::{EndpointCheck, check_endpoint, validate_endpoint};
#[cfg(feature = "http")]
pub(crate) use fetch::{Fetched, Fetcher};
pub use ingest::PageIngest;
#[cfg(feature = "http")]
pub(crate) use page::{Layout, PageReader, PageResult, StartTime};
#[cfg(feature = "http")]
pub(crate) use series::SeriesOrigin;

/// Why a scrape gave no samples.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// The host name does not resolve.
    #[error("the host name could not be resolved")]
    Dns,
    /// Nothing listens on the port.
    #[error("the connection was refused: nothing listens there")]
    Refused,
    /// No complete answer within the timeout.
    #[error("no complete answer within {}", duration_text::Shown(*.0))]
    Timeout(std::time::Duration),
    /// A status other than success.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// A redirect, which is not followed.
    #[error("the server answered with status {status}: the page is at {to}; configure that URL")]
    Moved {
        /// The status, 300 to 399.
        status: u16,
        /// Where the page is, without credentials and query.
        to: String,
    },
    /// The connection broke before the end of the page.
    #[error("the connection broke before the page was complete")]
    Cut,
    /// The page is larger than the configured limit.
    #[error("the page is larger than {0} bytes")]
    TooLarge(usize),
    /// The response is not a page of metrics.
    #[error("the answer is not a page of metrics ({0})")]
    WrongContent(String),
    /// The page has metrics, but none of the expected ones.
    #[error("the page holds none of the expected metrics ({0})")]
    NoExpectedMetric(String),
    /// TLS or any other transport error.
    #[error("{0}")]
    Transport(String),
}

impl ScrapeError {
    /// The identifier used in events: `dns`, `refused`, `timeout`, `status`, `moved`, `cut`, `too_large`,
    /// `wrong_content`, `no_expected_metric`, `transport`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::Moved { .. } => "moved",
            Self::Cut => "cut",
            Self::TooLarge(_) => "too_large",
            Self::WrongContent(_) => "wrong_content",
            Self::NoExpectedMetric(_) => "no_expected_metric",
            Self::Transport(_) => "transport",
        }
    }
}
