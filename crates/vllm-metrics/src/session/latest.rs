//! The newest value of every series, for those who look while the run goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Sample, SeriesDef, SeriesId};
use crate::queue::RecordQueue;

/// The newest sample of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestSample {
    /// Which series.
    pub def: Arc<SeriesDef>,
    /// When, on the run's clock.
    pub timestamp_ns: i64,
    /// The value.
    pub value: f64,
}

/// By series id; a series that never had a sample has none.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    values: Mutex<Vec<Option<(i64, f64)>>>,
}

impl Latest {
    pub(crate) fn take(&self, samples: &[Sample]) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for sample in samples {
            let at = sample.series.0 as usize;
            if at >= values.len() {
                values.resize(at + 1, None);
            }
            values[at] = Some((sample.timestamp_ns, sample.value));
        }
    }

    /// The newest samples that are no older than `max_age` at `now_ns`, sorted by name, labels and endpoint.
    pub(crate) fn fresh(&self, queue: &RecordQueue, now_ns: i64, max_age: Duration) -> Vec<LatestSample> {
        let oldest_ns = now_ns.saturating_sub(i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX));
        let mut fresh: Vec<LatestSample> = {
            let defs = queue.series();
            let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            let value = |id: SeriesId| values.get(id.0 as usize).copied().flatten();
            defs.into_iter()
                .filter_map(|(def, id)| {
                    let (timestamp_ns, value) = value(id)?;
                    (timestamp_ns >= oldest_ns).then_some(LatestSample {
                        def,
                        timestamp_ns,
                        value,
                    })
                })
                .collect()
        };
        fresh.sort_by(|a, b| {
            let key = |s: &LatestSample| {
                (
                    Arc::clone(&s.def.metric_name),
                    Arc::clone(&s.def.labels),
                    Arc::clone(&s.def.endpoint_url),
                )
            };
            key(a).cmp(&key(b))
        });
        fresh
    }
}
