//! The recorder: producers publish a run's records through it, and subscribers receive them.
//!
//! ```text
//!  collector ─┐                       ┌─► Subscription ─► writer thread ─► files
//!  samplers ──┼─► Recorder ─► queues ─┼─► Subscription ─► push receivers
//!  hooks ─────┤   (series ids,        ├─► Subscription ─► newest values, `/federate`
//!  own cost ──┘    phases)            └─► Subscription ─► yours
//! ```

mod bus;
mod latest;
mod selfcost;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub(crate) use bus::QueueMonitor;
pub use bus::{Dropped, Filter, Subscription};
pub use latest::LatestSample;
pub(crate) use latest::LatestValues;
pub(crate) use selfcost::{HookFigures, Memory, OwnCpu, SelfSampler, ThreadCpu};

use bus::Queue;
use run_model::RunClock;
use run_model::SampleSink;
use run_model::labels;
use run_model::{
    BatchRow, EngineRequestRow, EventKind, EventRow, HelpTexts, MetricType, Record, RequestRow, SampleBatch,
    SeriesDef, SeriesId, Severity, StepRow,
};

/// Delivers the records of one run to every subscription. Clones share one recorder.
///
/// Nothing here blocks: a subscriber that cannot keep up loses records, which are counted
/// ([`Subscription::dropped`]).
///
/// ```
/// use vllm_metrics::{Filter, MetricType, Record, Recorder, RunClock, Sample, SampleBatch, SeriesDef};
///
/// let recorder = Recorder::new(RunClock::start());
/// let subscription = recorder.subscribe(Filter::all(), 1 << 20);
/// let series = recorder.series(SeriesDef {
///     metric_name: "queue_length".into(),
///     labels: "{}".into(),
///     metric_type: MetricType::Gauge,
///     unit: "requests".into(),
///     source: "harness".into(),
///     endpoint_url: "".into(),
/// });
/// let now_ns = recorder.now_ns();
/// recorder.samples(SampleBatch {
///     start_ns: now_ns,
///     end_ns: now_ns,
///     samples: vec![Sample { series, timestamp_ns: now_ns, value: 3.0 }],
///     ..SampleBatch::default()
/// });
/// let records = subscription.try_take();
/// assert!(matches!(records[..], [Record::Series(..), Record::Samples(_)]));
/// ```
#[derive(Debug, Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: RunClock,
    /// Locked while a definition is published and while a subscription is added, so that each subscriber
    /// receives every definition once, before its first sample.
    series: Mutex<HashMap<Arc<SeriesDef>, SeriesId>>,
    help: Mutex<HelpTexts>,
    queues: RwLock<Vec<Arc<Queue>>>,
    /// When each phase began, ascending; a handful per run.
    phases: RwLock<Vec<(i64, Arc<str>)>>,
    no_phase: Arc<str>,
    /// How many events of each kind were logged as warnings or errors.
    logged: Mutex<HashMap<EventKind, u32>>,
}

/// Number of warnings and errors of one kind that are logged as such; further ones at debug level.
pub const LOGGED_PER_KIND: u32 = 10;

impl Recorder {
    /// Creates a recorder without subscribers on `clock`.
    pub fn new(clock: RunClock) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                series: Mutex::default(),
                help: Mutex::default(),
                queues: RwLock::default(),
                phases: RwLock::default(),
                no_phase: Arc::from(""),
                logged: Mutex::default(),
            }),
        }
    }

    /// The run's clock.
    pub fn clock(&self) -> &RunClock {
        &self.inner.clock
    }

    /// Now, in nanoseconds on the run's clock.
    pub fn now_ns(&self) -> i64 {
        self.inner.clock.now_ns()
    }

    /// Subscribes to everything published from now on that `filter` accepts, and to the definitions of all
    /// series so far. The queue holds about `capacity_bytes`; records beyond that are dropped and counted.
    pub fn subscribe(&self, filter: Filter, capacity_bytes: usize) -> Subscription {
        let (queue, subscription) = Queue::new(filter, capacity_bytes);
        let series = self.inner.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<_> = series.iter().map(|(def, id)| (*id, Arc::clone(def))).collect();
        known.sort_by_key(|(id, _)| *id);
        // Held until the queue is added, so that no text is missed.
        let help = self.inner.help.lock().unwrap_or_else(PoisonError::into_inner);
        for (family, text) in help.iter() {
            queue.push(&Record::Help(Arc::clone(family), Arc::clone(text)));
        }
        for (id, def) in known {
            queue.push(&Record::Series(id, def));
        }
        let mut queues = self.inner.queues.write().unwrap_or_else(PoisonError::into_inner);
        // Removes subscriptions that have been dropped.
        queues.retain(|queue| !queue.is_closed() || Arc::strong_count(queue) > 1);
        queues.push(queue);
        subscription
    }

    /// Returns the id of a series, the same for equal definitions. The definition is published before the id
    /// is returned, so it precedes the first sample. May lock and allocate; keep the id.
    pub fn series(&self, def: SeriesDef) -> SeriesId {
        let mut series = self.inner.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = series.get(&def) {
            return *id;
        }
        let id = SeriesId(u32::try_from(series.len()).unwrap_or(u32::MAX));
        let def = Arc::new(def);
        series.insert(Arc::clone(&def), id);
        self.publish(&Record::Series(id, def));
        id
    }

    /// Publishes what a server says about a family, unless that is known or beyond the limits of [`HelpTexts`].
    pub(crate) fn add_help(&self, family: &str, text: &str) {
        let mut help = self.inner.help.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((family, text)) = help.add(family, text) {
            self.publish(&Record::Help(family, text));
        }
    }

    /// What servers have said about their metrics so far.
    pub(crate) fn help(&self) -> HelpTexts {
        self.inner
            .help
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Number of distinct series so far.
    pub fn series_count(&self) -> usize {
        self.inner
            .series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Publishes samples that were taken together, and sets their phase.
    pub fn samples(&self, mut batch: SampleBatch) {
        batch.phase = self.phase_at(batch.start_ns);
        self.publish(&Record::Samples(Arc::new(batch)));
    }

    /// Publishes a finished request.
    pub fn request(&self, row: RequestRow) {
        self.publish(&Record::Request(row));
    }

    /// Publishes a finished batch of requests.
    pub fn batch(&self, row: BatchRow) {
        self.publish(&Record::Batch(row));
    }

    /// Publishes one step of an engine.
    pub fn step(&self, row: StepRow) {
        self.publish(&Record::Step(row));
    }

    /// Publishes a request that an engine finished.
    pub fn engine_request(&self, row: EngineRequestRow) {
        self.publish(&Record::EngineRequest(row));
    }

    /// Publishes an event as given, for example from the harness.
    pub fn event(&self, event: EventRow) {
        self.publish(&Record::Event(event));
    }

    /// Logs an event of the recorder's own components and publishes it, so that log and record agree. The
    /// first [`LOGGED_PER_KIND`] warnings and errors of each kind are logged as such, everything else at
    /// debug level.
    pub fn emit(&self, event: EventRow) {
        let (kind, source, message) = (event.kind.as_str(), &*event.source, &*event.message);
        let is_early = || {
            let mut logged = self.inner.logged.lock().unwrap_or_else(PoisonError::into_inner);
            let count = logged.entry(event.kind.clone()).or_default();
            *count = count.saturating_add(1);
            *count <= LOGGED_PER_KIND
        };
        match event.severity {
            Severity::Error if is_early() => tracing::error!(kind, source, "{message}"),
            Severity::Warning if is_early() => tracing::warn!(kind, source, "{message}"),
            _ => tracing::debug!(kind, source, "{message}"),
        }
        self.publish(&Record::Event(event));
    }

    /// Begins the phase `name` at `at_ns`; it lasts until the next one.
    pub(crate) fn begin_phase(&self, at_ns: i64, name: Arc<str>) {
        let mut phases = self.inner.phases.write().unwrap_or_else(PoisonError::into_inner);
        phases.push((at_ns, name));
        phases.sort_by_key(|(at_ns, _)| *at_ns);
    }

    /// The phase at `at_ns`; empty before the first mark.
    fn phase_at(&self, at_ns: i64) -> Arc<str> {
        let phases = self.inner.phases.read().unwrap_or_else(PoisonError::into_inner);
        phases
            .iter()
            .rev()
            .find(|(begin_ns, _)| *begin_ns <= at_ns)
            .map_or_else(|| Arc::clone(&self.inner.no_phase), |(_, name)| Arc::clone(name))
    }

    pub(crate) fn publish(&self, record: &Record) {
        let queues = self.inner.queues.read().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.iter() {
            queue.push(record);
        }
    }

    /// Ends every subscription once its waiting records have been taken.
    pub(crate) fn close(&self) {
        let queues = self.inner.queues.read().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.iter() {
            queue.close();
        }
    }

    /// Returns the id of one of the session's series about itself.
    pub(crate) fn own_series(&self, own: &OwnSeries<'_>) -> SeriesId {
        let labels: BTreeMap<String, String> = own
            .labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        self.series(SeriesDef {
            metric_name: Arc::from(own.name),
            labels: labels::write(&labels),
            metric_type: own.metric_type,
            unit: Arc::from(own.unit),
            source: Arc::from("self"),
            endpoint_url: Arc::from(own.endpoint_url),
        })
    }
}

/// One of the session's series about itself.
#[derive(Debug)]
pub(crate) struct OwnSeries<'a> {
    pub(crate) name: &'a str,
    pub(crate) metric_type: MetricType,
    pub(crate) unit: &'a str,
    pub(crate) labels: &'a [(&'a str, &'a str)],
    pub(crate) endpoint_url: &'a str,
}

/// Samplers use the trait, so that they also run without a session.
impl SampleSink for Recorder {
    fn now_ns(&self) -> i64 {
        Self::now_ns(self)
    }

    fn intern(&mut self, def: SeriesDef) -> SeriesId {
        self.series(def)
    }

    fn samples(&mut self, batch: SampleBatch) {
        Self::samples(self, batch);
    }

    fn event(&mut self, event: EventRow) {
        self.emit(event);
    }

    fn fork(&self) -> Box<dyn SampleSink> {
        Box::new(self.clone())
    }
}
