//! The bus delivers every record to every subscription, each of which has its own bounded queue.
//!
//! A full queue drops records and counts them; it never blocks a producer. Queues are bounded by bytes, not
//! by the number of records, since the sizes of a scrape of a large page and of a phase mark differ a
//! thousandfold. Series definitions are never dropped, because a subscriber could not interpret samples
//! without them. Events may exceed the capacity by an eighth, so that the event that reports a drop is not
//! dropped as well.

use std::fmt;
use std::mem::size_of;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use run_model::{Record, Sample, SampleBatch, SeriesDef};

/// Number of records that a queue dropped because its subscriber could not keep up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Individual samples.
    pub samples: u64,
    /// Request and batch rows.
    pub rows: u64,
    /// Events.
    pub events: u64,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} samples, {} rows, {} events",
            self.samples, self.rows, self.events
        )
    }
}

impl Dropped {
    /// Whether anything was dropped.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    fn count(&mut self, record: &Record) {
        match record {
            Record::Samples(batch) => self.samples += batch.samples.len() as u64,
            Record::Event(_) => self.events += 1,
            _ => self.rows += 1,
        }
    }
}

/// Which records a subscription receives.
///
/// ```
/// use vllm_metrics::Filter;
///
/// let events_only = Filter::none().events(true);
/// let vllm_only = Filter::all().series(|def| def.metric_name.starts_with("vllm:"));
/// # let _ = (events_only, vllm_only);
/// ```
#[derive(Clone)]
pub struct Filter {
    samples: bool,
    rows: bool,
    events: bool,
    series: Option<Arc<SeriesPredicate>>,
}

type SeriesPredicate = dyn Fn(&SeriesDef) -> bool + Send + Sync;

impl Filter {
    /// Accepts everything.
    pub fn all() -> Self {
        Self {
            samples: true,
            rows: true,
            events: true,
            series: None,
        }
    }

    /// Accepts only series definitions; add to it.
    pub fn none() -> Self {
        Self {
            samples: false,
            rows: false,
            events: false,
            series: None,
        }
    }

    /// Sets whether samples are received.
    #[must_use]
    pub fn samples(mut self, wanted: bool) -> Self {
        self.samples = wanted;
        self
    }

    /// Sets whether request and batch rows are received.
    #[must_use]
    pub fn rows(mut self, wanted: bool) -> Self {
        self.rows = wanted;
        self
    }

    /// Sets whether events are received.
    #[must_use]
    pub fn events(mut self, wanted: bool) -> Self {
        self.events = wanted;
        self
    }

    /// Receives only series for which `accepts` returns true, and their samples. Called once per series.
    #[must_use]
    pub fn series(mut self, accepts: impl Fn(&SeriesDef) -> bool + Send + Sync + 'static) -> Self {
        self.series = Some(Arc::new(accepts));
        self
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::all()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("samples", &self.samples)
            .field("rows", &self.rows)
            .field("events", &self.events)
            .field("some_series_only", &self.series.is_some())
            .finish()
    }
}

/// One subscriber's end of the bus. Dropping it ends the subscription.
///
/// Created by [`Recorder::subscribe`](super::Recorder::subscribe). Records arrive in the order of
/// publication; a series always precedes its first sample. Sample batches are shared between subscriptions,
/// not copied.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Subscription {
    /// Returns all waiting records without blocking.
    pub fn try_take(&self) -> Vec<Record> {
        self.queue.lock().take()
    }

    /// Blocks until records are waiting and returns all of them; `None` once the recorder has closed and
    /// everything was taken.
    pub fn take(&self) -> Option<Vec<Record>> {
        self.take_until(None)
    }

    /// Like [`Subscription::take`], but returns an empty vector after `limit` without records.
    pub fn take_within(&self, limit: Duration) -> Option<Vec<Record>> {
        self.take_until(Instant::now().checked_add(limit))
    }

    /// Like [`Subscription::take`], for async code. Cancel safe: records not returned stay in the queue.
    pub async fn take_async(&self) -> Option<Vec<Record>> {
        loop {
            {
                let mut state = self.queue.lock();
                if !state.records.is_empty() {
                    return Some(state.take());
                }
                if state.closed {
                    return None;
                }
                state.wake_at = 1;
            }
            // A publication between the lock above and this line leaves a permit behind.
            self.queue.notify.notified().await;
        }
    }

    /// Number of records this subscription has missed so far.
    pub fn dropped(&self) -> Dropped {
        self.queue.lock().dropped
    }

    /// Returns a monitor of this subscription's counts.
    pub(crate) fn monitor(&self) -> QueueMonitor {
        QueueMonitor {
            queue: Arc::clone(&self.queue),
        }
    }

    fn take_until(&self, deadline: Option<Instant>) -> Option<Vec<Record>> {
        let mut state = self.queue.wait(self.queue.lock(), 1, deadline);
        if state.records.is_empty() && state.closed {
            return None;
        }
        Some(state.take())
    }

    /// Blocks until `bytes` are waiting, the recorder has closed, or `deadline` has passed. Takes nothing.
    pub(crate) fn wait_for(&self, bytes: usize, deadline: Option<Instant>) {
        drop(self.queue.wait(self.queue.lock(), bytes, deadline));
    }

    /// Whether the queue is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Reads the counts of a subscription and can close it.
#[derive(Debug, Clone)]
pub(crate) struct QueueMonitor {
    queue: Arc<Queue>,
}

impl QueueMonitor {
    pub(crate) fn dropped(&self) -> Dropped {
        self.queue.lock().dropped
    }

    /// Bytes in the queue now.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.queue.lock().held_bytes as u64
    }

    /// Maximum number of bytes ever in the queue.
    pub(crate) fn high_water_bytes(&self) -> u64 {
        self.queue.lock().high_water_bytes as u64
    }

    /// Rejects further records and wakes the subscriber.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

/// Events may exceed the capacity by this fraction: one eighth.
const EVENT_RESERVE: usize = 8;

/// The queue behind one subscription.
pub(super) struct Queue {
    filter: Filter,
    capacity_bytes: usize,
    state: Mutex<State>,
    available: Condvar,
    notify: Notify,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    held_bytes: usize,
    high_water_bytes: usize,
    dropped: Dropped,
    closed: bool,
    /// Number of held bytes that wakes the subscriber; 0 while it does not wait.
    wake_at: usize,
    /// By series id, where the filter names series.
    accepted: Vec<bool>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("filter", &self.filter)
            .field("capacity_bytes", &self.capacity_bytes)
            .finish_non_exhaustive()
    }
}

impl State {
    fn take(&mut self) -> Vec<Record> {
        self.held_bytes = 0;
        std::mem::take(&mut self.records)
    }
}

impl Queue {
    pub(super) fn new(filter: Filter, capacity_bytes: usize) -> (Arc<Self>, Subscription) {
        let queue = Arc::new(Self {
            filter,
            capacity_bytes,
            state: Mutex::default(),
            available: Condvar::new(),
            notify: Notify::new(),
        });
        let subscription = Subscription {
            queue: Arc::clone(&queue),
        };
        (queue, subscription)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.available.notify_all();
        self.notify.notify_one();
    }

    /// Queues `record` if the filter accepts it and it fits; otherwise counts it.
    pub(super) fn push(&self, record: &Record) {
        let mut state = self.lock();
        let Some(record) = self.filtered(&mut state, record) else {
            return;
        };
        let size = size_bytes(&record);
        let limit = match record {
            // Both are bounded where they are made.
            Record::Help(..) | Record::Series(..) => usize::MAX,
            Record::Event(_) => self.capacity_bytes + self.capacity_bytes / EVENT_RESERVE,
            _ => self.capacity_bytes,
        };
        let held = state.held_bytes + size;
        if state.closed || held > limit {
            state.dropped.count(&record);
            return;
        }
        state.held_bytes = held;
        state.high_water_bytes = state.high_water_bytes.max(held);
        state.records.push(record);
        if state.wake_at > 0 && held >= state.wake_at {
            state.wake_at = 0;
            drop(state);
            self.available.notify_one();
            self.notify.notify_one();
        }
    }

    fn filtered(&self, state: &mut State, record: &Record) -> Option<Record> {
        match record {
            Record::Series(id, def) => {
                if let Some(accepts) = &self.filter.series {
                    let at = id.0 as usize;
                    let accepted = accepts(def);
                    if at >= state.accepted.len() {
                        state.accepted.resize(at + 1, false);
                    }
                    state.accepted[at] = accepted;
                    if !accepted {
                        return None;
                    }
                }
            }
            Record::Samples(batch) => {
                if !self.filter.samples {
                    return None;
                }
                if self.filter.series.is_some() {
                    return accepted_samples(batch, &state.accepted);
                }
            }
            Record::Help(..) if !self.filter.samples => return None,
            Record::Event(_) if !self.filter.events => return None,
            Record::Request(_) | Record::Batch(_) | Record::Step(_) | Record::EngineRequest(_)
                if !self.filter.rows =>
            {
                return None;
            }
            _ => {}
        }
        Some(record.clone())
    }

    /// Waits until `bytes` are held, the queue is closed, or `deadline` has passed.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        while state.held_bytes < bytes && !state.closed {
            state.wake_at = bytes;
            state = match deadline {
                None => self.available.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.available.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.wake_at = 0;
        state
    }
}

fn accepted_samples(batch: &Arc<SampleBatch>, accepted: &[bool]) -> Option<Record> {
    let is_accepted = |sample: &&Sample| accepted.get(sample.series.0 as usize).copied().unwrap_or(false);
    let count = batch.samples.iter().filter(is_accepted).count();
    if count == 0 {
        return None;
    }
    if count == batch.samples.len() {
        return Some(Record::Samples(Arc::clone(batch)));
    }
    Some(Record::Samples(Arc::new(SampleBatch {
        samples: batch.samples.iter().filter(is_accepted).copied().collect(),
        phase: Arc::clone(&batch.phase),
        start_ns: batch.start_ns,
        end_ns: batch.end_ns,
    })))
}

/// Approximate memory size of a record.
fn size_bytes(record: &Record) -> usize {
    size_of::<Record>()
        + match record {
            Record::Samples(batch) => size_of::<SampleBatch>() + batch.samples.len() * size_of::<Sample>(),
            Record::Event(event) => event.message.len() + event.attributes.len(),
            Record::Help(family, text) => family.len() + text.len(),
            Record::Series(_, def) => size_of::<SeriesDef>() + def.metric_name.len() + def.labels.len(),
            Record::Request(_) | Record::Batch(_) | Record::Step(_) => 0,
            Record::EngineRequest(row) => row.server_request_id.len(),
        }
}

#[cfg(test)]
mod tests;
