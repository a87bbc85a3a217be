//! Replaces the collector in a build without HTTP: rejects endpoints.

use std::sync::{Arc, Mutex};

use run_model::{Error, Result};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::control::ScrapeControl;
use super::tally::EndpointReport;
use crate::config::Resolved;
use crate::recorder::Recorder;

/// No endpoints.
#[derive(Debug)]
pub(crate) struct Collector;

impl Collector {
    pub(crate) fn new(config: &Resolved, _: &Recorder) -> Result<Self> {
        match config.endpoints.first() {
            None => Ok(Self),
            Some(endpoint) => Err(Error::config(format!(
                "{}: scraping needs a build with the cargo feature `http`",
                endpoint.shown_url
            ))),
        }
    }

    pub(crate) fn reports(&self) -> Vec<Arc<Mutex<EndpointReport>>> {
        Vec::new()
    }

    pub(crate) fn spawn(self, _: &ScrapeControl, _: &TaskTracker, _: Instant) {}
}
