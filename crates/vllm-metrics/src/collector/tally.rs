//! What became of one endpoint's scrapes, for the run's end.

use std::time::Duration;

/// A stretch without samples of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The endpoint, without credentials.
    pub endpoint_url: String,
    /// The first scrape that failed.
    pub start_ns: i64,
    /// The first one that succeeded again, or the end of the run.
    pub end_ns: i64,
    /// The last reason, in words.
    pub reason: String,
    /// Scheduled scrapes that gave nothing.
    pub missed_scrapes: u64,
}

/// What became of one endpoint.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct EndpointReport {
    /// The endpoint, without credentials.
    pub endpoint_url: String,
    /// Scrapes that gave samples.
    pub scrapes: u64,
    /// Those of them that asked for a part of the page only.
    pub partial_scrapes: u64,
    /// Scrapes that failed, retries included.
    pub failed_scrapes: u64,
    /// Ticks that could not be kept because the one before took too long or the machine was busy.
    pub missed_ticks: u64,
    /// Samples taken.
    pub samples: u64,
    /// Bytes of pages read.
    pub body_bytes: u64,
    /// Time from request to last byte, all scrapes together.
    pub fetch_time: Duration,
    /// The longest of them.
    pub longest_fetch: Duration,
    /// Time spent parsing and interning.
    pub parse_time: Duration,
    /// Lines that could not be read.
    pub bad_lines: u64,
    /// Samples dropped because their series was on the page twice.
    pub duplicates: u64,
    /// Scrapes in which counters stood lower than before.
    pub counter_resets: u64,
    /// Stretches without samples.
    pub gaps: Vec<Gap>,
    /// True if no scrape ever succeeded.
    pub never_answered: bool,
}
