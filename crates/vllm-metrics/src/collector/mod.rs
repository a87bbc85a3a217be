//! Scrapes endpoints on their schedules: one independent task per endpoint, one scrape at a time.

mod control;
#[cfg(feature = "http")]
mod counter_resets;
#[cfg(feature = "http")]
mod page_problems;
#[cfg(feature = "http")]
mod partial;
#[cfg(feature = "http")]
mod schedule;
#[cfg(feature = "http")]
mod scraping;
mod tally;
#[cfg(feature = "http")]
mod target;
#[cfg(not(feature = "http"))]
mod without_http;

pub(crate) use control::ScrapeControl;
#[cfg(feature = "http")]
pub(crate) use scraping::Collector;
pub use tally::{EndpointReport, Gap};
#[cfg(not(feature = "http"))]
pub(crate) use without_http::Collector;
