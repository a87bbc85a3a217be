//! What every part of a running session shares: the clock, the queue, and which phase it is.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::latest::Latest;
use crate::clock::RunClock;
use crate::model::{EventRow, MetricType, Record, SampleBatch, SeriesDef, SeriesId, Severity};
use crate::queue::RecordQueue;
use crate::scrape::labels_json;
use crate::selfcost::ThreadCpu;
use crate::sink::SampleSink;

/// Shared by the collector, the samplers and the hook drain.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) clock: RunClock,
    pub(crate) queue: RecordQueue,
    /// The newest value of each series.
    pub(crate) latest: Latest,
    /// CPU time of the thread that drives the session, where it is our own.
    pub(crate) collector_cpu: ThreadCpu,
    /// CPU time of the writer thread.
    pub(crate) writer_cpu: Arc<ThreadCpu>,
    /// When each phase began, ascending; a handful per run.
    phases: RwLock<Vec<(i64, Arc<str>)>>,
    no_phase: Arc<str>,
}

impl Core {
    pub(crate) fn new(clock: RunClock, queue: RecordQueue) -> Arc<Self> {
        Arc::new(Self {
            clock,
            queue,
            latest: Latest::default(),
            collector_cpu: ThreadCpu::default(),
            writer_cpu: Arc::default(),
            phases: RwLock::default(),
            no_phase: Arc::from(""),
        })
    }

    /// The phase `name` lasts from `at_ns` on.
    pub(crate) fn begin_phase(&self, at_ns: i64, name: Arc<str>) {
        let mut phases = self.phases.write().unwrap_or_else(PoisonError::into_inner);
        phases.push((at_ns, name));
        phases.sort_by_key(|(at_ns, _)| *at_ns);
    }

    /// The phase at `at_ns`; empty before the first mark.
    pub(crate) fn phase_at(&self, at_ns: i64) -> Arc<str> {
        let phases = self.phases.read().unwrap_or_else(PoisonError::into_inner);
        phases
            .iter()
            .rev()
            .find(|(begin_ns, _)| *begin_ns <= at_ns)
            .map_or_else(|| Arc::clone(&self.no_phase), |(_, name)| Arc::clone(name))
    }

    /// Samples taken together; the phase is filled in here.
    pub(crate) fn samples(&self, mut batch: SampleBatch) {
        batch.phase = self.phase_at(batch.start_ns);
        self.latest.take(&batch.samples);
        self.queue.push(Record::Samples(batch));
    }

    pub(crate) fn event(&self, event: EventRow) {
        self.queue.push(Record::Event(event));
    }

    /// The id of a series that the session makes about itself.
    pub(crate) fn own_series(&self, own: &OwnSeries<'_>) -> SeriesId {
        let labels: BTreeMap<String, String> = own
            .labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        self.queue.intern(SeriesDef {
            metric_name: Arc::from(own.name),
            labels: labels_json(&labels),
            metric_type: own.metric_type,
            unit: Arc::from(own.unit),
            source: Arc::from("self"),
            endpoint_url: Arc::from(own.endpoint_url),
        })
    }
}

/// A series that the session makes about itself.
#[derive(Debug)]
pub(crate) struct OwnSeries<'a> {
    pub(crate) name: &'a str,
    pub(crate) metric_type: MetricType,
    pub(crate) unit: &'a str,
    pub(crate) labels: &'a [(&'a str, &'a str)],
    pub(crate) endpoint_url: &'a str,
}

/// An event of the session's own.
pub(crate) fn event(
    at_ns: i64,
    kind: &str,
    severity: Severity,
    source: &str,
    message: impl Into<String>,
    attributes: &serde_json::Value,
) -> EventRow {
    EventRow {
        timestamp_ns: at_ns,
        end_ns: None,
        kind: Arc::from(kind),
        severity,
        source: Arc::from(source),
        message: Arc::from(message.into()),
        attributes: Arc::from(if attributes.is_null() {
            "{}".to_owned()
        } else {
            attributes.to_string()
        }),
    }
}

/// A sampler's door into the session.
#[derive(Debug)]
pub(crate) struct CoreSink(pub(crate) Arc<Core>);

impl SampleSink for CoreSink {
    fn now_ns(&self) -> i64 {
        self.0.clock.now_ns()
    }

    fn intern(&mut self, def: SeriesDef) -> SeriesId {
        self.0.queue.intern(def)
    }

    fn samples(&mut self, batch: SampleBatch) {
        self.0.samples(batch);
    }

    fn event(&mut self, event: EventRow) {
        self.0.event(event);
    }

    fn fork(&self) -> Box<dyn SampleSink> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}
