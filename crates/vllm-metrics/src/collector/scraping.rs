//! The endpoints of a session, and one task for each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use run_model::Result;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::control::ScrapeControl;
use super::tally::EndpointReport;
use super::target::Target;
use crate::config::Resolved;
use crate::recorder::Recorder;

/// Number of endpoints from which their ticks are spread over the interval instead of coinciding.
const SPREAD_FROM: usize = 16;
/// Minimum time between the first scrapes of two endpoints when they are spread. A first page takes ten times
/// as long as later ones because all of its series are new.
const FIRST_PAGE_EVERY: Duration = Duration::from_millis(4);
/// Maximum number of concurrent scrapes when all endpoints are scraped at once (phase edges and the end).
/// With more, an answer could wait for its reader until it times out.
const AT_ONCE: usize = 32;

/// The endpoints of a session, ready to run.
#[derive(Debug)]
pub(crate) struct Collector {
    targets: Vec<Target>,
    reports: Vec<Arc<Mutex<EndpointReport>>>,
}

impl Collector {
    pub(crate) fn new(config: &Resolved, recorder: &Recorder) -> Result<Self> {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let targets: Vec<Target> = config
            .endpoints
            .iter()
            .map(|endpoint| Target::new(endpoint, config, recorder, &turns))
            .collect::<Result<_>>()?;
        let reports = targets.iter().map(Target::endpoint_report).collect();
        Ok(Self { targets, reports })
    }

    /// The endpoints' reports, filled in while scraping.
    pub(crate) fn reports(&self) -> Vec<Arc<Mutex<EndpointReport>>> {
        self.reports.clone()
    }

    /// Spawns one task per endpoint on the current runtime, with ticks counted from `start`. `tracker` tracks
    /// the tasks' end.
    pub(crate) fn spawn(self, control: &ScrapeControl, tracker: &TaskTracker, start: Instant) {
        let count = u32::try_from(self.targets.len()).expect("fewer than 2^32 endpoints");
        for (index, target) in self.targets.into_iter().enumerate() {
            let first = if (count as usize) < SPREAD_FROM {
                Duration::ZERO
            } else {
                (target.interval() / count)
                    .max(FIRST_PAGE_EVERY)
                    .mul_f64(index as f64)
            };
            let control = control.clone();
            tracker.spawn(async move {
                let mut wanted = control.wanted.subscribe();
                // A scrape was forced before this task began and must still be served.
                if *wanted.borrow() > 0 {
                    wanted.mark_changed();
                }
                let stop = control.stop.clone();
                target
                    .run(start + first, wanted, stop, |number| control.mark(index, number))
                    .await;
                // Callers must not wait for an endpoint that has ended.
                control.mark(index, u64::MAX);
            });
        }
    }
}
