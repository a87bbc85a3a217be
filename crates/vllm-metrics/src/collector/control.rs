//! Forces scrapes, waits for them, and ends all scraping.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Starts, forces and stops the scraping of all endpoints.
#[derive(Debug, Clone)]
pub(crate) struct ScrapeControl {
    /// Number of the latest forced scrape.
    pub(super) wanted: Arc<watch::Sender<u64>>,
    pub(super) stop: CancellationToken,
    done: Arc<Done>,
}

/// Number of the latest forced scrape that each endpoint has served.
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

    /// Requests an immediate scrape of every endpoint. Returns the number of the request.
    pub(crate) fn force(&self) -> u64 {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            number = *wanted;
        });
        number
    }

    /// Waits until every endpoint has finished a scrape that began after [`ScrapeControl::force`] returned
    /// `number`, successful or not. Returns false if `limit` passes first.
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

    /// Ends all scraping: running scrapes finish, then each responding endpoint is scraped one last time.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// The token that [`ScrapeControl::stop`] cancels.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Marks the forced scrapes up to `number` as done for one endpoint.
    pub(super) fn mark(&self, endpoint: usize, number: u64) {
        self.done.reached[endpoint].store(number, Ordering::Release);
        let _guard = self.done.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.done.changed.notify_all();
    }
}
