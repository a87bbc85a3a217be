//! Selects the part of a run to read.

use std::fmt;
use std::sync::Arc;

use run_model::{BatchRow, EventRow, RequestRow};

/// Whether a metric of this name is selected.
type Accepts = dyn Fn(&str) -> bool + Send + Sync;

/// Selected metrics and time range; everything by default.
#[derive(Clone)]
pub(crate) struct Selection {
    metrics: Option<Arc<Accepts>>,
    pub(crate) from_ns: i64,
    pub(crate) to_ns: i64,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            metrics: None,
            from_ns: i64::MIN,
            to_ns: i64::MAX,
        }
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection")
            .field("some_metrics_only", &self.metrics.is_some())
            .field("from_ns", &self.from_ns)
            .field("to_ns", &self.to_ns)
            .finish()
    }
}

impl Selection {
    pub(crate) fn metrics(&mut self, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.metrics = Some(Arc::new(accepts));
    }

    /// Whether samples of this metric are selected.
    pub(crate) fn has_metric(&self, name: &str) -> bool {
        self.metrics.as_ref().is_none_or(|accepts| accepts(name))
    }

    pub(crate) fn has_every_metric(&self) -> bool {
        self.metrics.is_none()
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.has_every_metric() && self.from_ns == i64::MIN && self.to_ns == i64::MAX
    }

    pub(crate) fn has_time(&self, ns: i64) -> bool {
        (self.from_ns..=self.to_ns).contains(&ns)
    }

    /// Whether the period from `start_ns` to `end_ns` overlaps the range.
    pub(crate) fn overlaps(&self, start_ns: i64, end_ns: i64) -> bool {
        start_ns <= self.to_ns && end_ns >= self.from_ns
    }

    pub(crate) fn has_request(&self, row: &RequestRow) -> bool {
        self.overlaps(row.issued_ns, row.done_ns.unwrap_or(i64::MAX))
    }

    pub(crate) fn has_batch(&self, row: &BatchRow) -> bool {
        self.overlaps(row.issued_ns, row.done_ns.unwrap_or(i64::MAX))
    }

    pub(crate) fn has_event(&self, row: &EventRow) -> bool {
        self.overlaps(row.timestamp_ns, row.end_ns.unwrap_or(row.timestamp_ns))
    }
}
