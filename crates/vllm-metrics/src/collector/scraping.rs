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

/// From how many endpoints on their ticks are spread over the interval instead of falling together.
const SPREAD_FROM: usize = 16;
/// Time between the first scrapes of two endpoints at the least, when they are spread: a first page has every series
/// to learn and takes ten times as long as the later ones.
const FIRST_PAGE_EVERY: Duration = Duration::from_millis(4);
/// How many endpoints are scraped at once where all of them are at one moment: at an edge and at the end. With more
/// than these, an answer would wait for its reader until its time is over.
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

    /// Where each endpoint's report will grow.
    pub(crate) fn reports(&self) -> Vec<Arc<Mutex<EndpointReport>>> {
        self.reports.clone()
    }

    /// Spawns one task per endpoint on the runtime this is called in, with ticks counted from `start`; `tracker` knows
    /// when all have ended.
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
                // Forced before this task began: still to be served.
                if *wanted.borrow() > 0 {
                    wanted.mark_changed();
                }
                let stop = control.stop.clone();
                target
                    .run(start + first, wanted, stop, |number| control.mark(index, number))
                    .await;
                // Nobody waits for an endpoint that has ended.
                control.mark(index, u64::MAX);
            });
        }
    }
}
