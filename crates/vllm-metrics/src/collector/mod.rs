//! Scrapes endpoints on their schedules: one task per endpoint, one scrape at a time, and never a wait for anyone.

mod oddities;
mod partial;
mod schedule;
mod tally;
mod target;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Resolved;
use crate::error::Result;
use crate::recorder::Recorder;
pub use tally::{EndpointReport, Gap};
use target::Target;

/// From how many endpoints on their ticks are spread over the interval instead of falling together.
const SPREAD_FROM: usize = 16;
/// Time between the first scrapes of two endpoints at the least, when they are spread: a first page has every series
/// to learn and takes ten times as long as the later ones.
const FIRST_PAGE_EVERY: Duration = Duration::from_millis(4);
/// How many endpoints are scraped at once where all of them are at one moment: at an edge and at the end. With more
/// than these, an answer would wait for its reader until its time is over.
const AT_ONCE: usize = 32;

/// Starts, forces and stops the scraping of all endpoints.
#[derive(Debug, Clone)]
pub(crate) struct ScrapeControl {
    /// The number of the latest forced scrape.
    wanted: Arc<watch::Sender<u64>>,
    stop: CancellationToken,
    done: Arc<Done>,
}

/// Up to which forced scrape each endpoint has come.
#[derive(Debug)]
struct Done {
    reached: Vec<AtomicU64>,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Done {
    fn all_reached(&self, number: u64) -> bool {
        self.reached
            .iter()
            .all(|reached| reached.load(Ordering::Acquire) >= number)
    }
}

impl ScrapeControl {
    pub(crate) fn new(endpoints: usize) -> Self {
        let done = Done {
            reached: (0..endpoints).map(|_| AtomicU64::new(0)).collect(),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        };
        Self {
            wanted: Arc::new(watch::Sender::new(0)),
            stop: CancellationToken::new(),
            done: Arc::new(done),
        }
    }

    /// Asks every endpoint for a scrape that begins now, outside its schedule. Returns its number.
    pub(crate) fn force(&self) -> u64 {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            number = *wanted;
        });
        number
    }

    /// Waits until every endpoint has finished a scrape that began after [`ScrapeControl::force`] gave `number`,
    /// well or not; false if `limit` passed first.
    pub(crate) fn wait(&self, number: u64, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut guard = self.done.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.done.all_reached(number) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = self
                .done
                .changed
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Ends all scraping: what is under way ends, then each endpoint that answers is scraped one last time.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// The token that [`ScrapeControl::stop`] cancels.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn mark(&self, endpoint: usize, number: u64) {
        self.done.reached[endpoint].store(number, Ordering::Release);
        let _guard = self.done.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.done.changed.notify_all();
    }
}

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
        let reports = targets.iter().map(Target::report).collect();
        Ok(Self { targets, reports })
    }

    /// Where each endpoint's report will grow.
    pub(crate) fn reports(&self) -> Vec<Arc<Mutex<EndpointReport>>> {
        self.reports.clone()
    }

    /// Spawns one task per endpoint on the runtime this is called in; `tracker` knows when all have ended.
    pub(crate) fn spawn(self, control: &ScrapeControl, tracker: &TaskTracker) {
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
                    .run(first, wanted, stop, |number| control.mark(index, number))
                    .await;
                // Nobody waits for an endpoint that has ended.
                control.mark(index, u64::MAX);
            });
        }
    }
}
