//! Scrape statistics of one endpoint, reported at the end of the run.

use std::time::Duration;

/// A period without samples of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The endpoint's URL, without credentials.
    pub endpoint_url: String,
    /// Time of the first failed scrape.
    pub start_ns: i64,
    /// Time of the first scrape that succeeded again, or the end of the run.
    pub end_ns: i64,
    /// The last reason, as text.
    pub reason: String,
    /// Scheduled scrapes that returned nothing.
    pub missed_scrapes: u64,
}

/// Scrape statistics of one endpoint.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct EndpointReport {
    /// The endpoint's URL, without credentials.
    pub endpoint_url: String,
    /// Successful scrapes.
    pub scrapes: u64,
    /// Successful scrapes of a part of the page.
    pub partial_scrapes: u64,
    /// Failed scrapes, including retries.
    pub failed_scrapes: u64,
    /// Ticks skipped because the previous scrape took too long or the machine was busy.
    pub missed_ticks: u64,
    /// Samples read.
    pub samples: u64,
    /// Bytes of pages read.
    pub body_bytes: u64,
    /// Total time from request to last byte.
    pub fetch_time: Duration,
    /// Longest time from request to last byte.
    pub longest_fetch: Duration,
    /// Time spent parsing and interning.
    pub parse_time: Duration,
    /// Unreadable lines.
    pub bad_lines: u64,
    /// Samples of series beyond the most that are recorded of one endpoint; they were left out.
    pub beyond_limit: u64,
    /// Samples dropped because their series appeared twice on the page.
    pub duplicates: u64,
    /// Scrapes in which a counter was lower than before.
    pub counter_resets: u64,
    /// Periods without samples.
    pub gaps: Vec<Gap>,
    /// True if no scrape ever succeeded.
    pub never_answered: bool,
}
