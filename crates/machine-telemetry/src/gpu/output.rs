//! State shared by the sampler's threads: the sink, the source's name, and counts.

use std::sync::Arc;

use super::calls::{CALLS, Call};
use super::cost::{CallCost, Durations};
use run_model::EventKind;
use run_model::SampleSink;
use run_model::{EventRow, Severity};

/// Durations per kind of call, over all GPUs.
#[derive(Clone, Default)]
pub(crate) struct Costs {
    pub(crate) calls: [Durations; CALLS],
}

impl Costs {
    pub(crate) fn summaries(&self) -> impl Iterator<Item = CallCost> + '_ {
        let made = Call::ALL
            .into_iter()
            .zip(&self.calls)
            .filter(|(_, durations)| durations.count() > 0);
        made.map(|(call, durations)| durations.summary(call.name()))
    }
}

/// State shared by the sampler's parts: the sink, the source's name, and counts.
pub(crate) struct Output<'s> {
    pub(crate) sink: &'s mut dyn SampleSink,
    pub(crate) source: Arc<str>,
    pub(crate) costs: Costs,
    pub(crate) read_errors: u64,
}

impl<'s> Output<'s> {
    pub(crate) fn new(sink: &'s mut dyn SampleSink, source: Arc<str>) -> Self {
        Self {
            sink,
            source,
            costs: Costs::default(),
            read_errors: 0,
        }
    }

    pub(crate) fn event(
        &mut self,
        kind: EventKind,
        severity: Severity,
        message: String,
        attributes: &serde_json::Value,
    ) {
        let now = self.sink.now_ns();
        self.event_from(now, None, kind, severity, message, attributes);
    }

    pub(crate) fn event_from(
        &mut self,
        timestamp_ns: i64,
        end_ns: Option<i64>,
        kind: EventKind,
        severity: Severity,
        message: String,
        attributes: &serde_json::Value,
    ) {
        self.sink.event(EventRow {
            timestamp_ns,
            end_ns,
            kind,
            severity,
            source: self.source.clone(),
            message: message.into(),
            attributes: attributes.to_string().into(),
        });
    }
}
