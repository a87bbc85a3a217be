//! Stores the end of every scrape as a series, so that no format needs an additional column.
//!
//! A batch with a known end adds one sample of `scrape_duration_seconds` (gauge, unit `seconds`, source
//! `self`), with the batch's source as the label `job` and its endpoint. If a collector records that series
//! itself, none is added.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Store, StoreFiles};
use run_model::Result;
use run_model::{Manifest, MetricType, Record, Sample, SampleBatch, SeriesDef, SeriesId};

/// Name of the series.
pub const SCRAPE_DURATION: &str = "scrape_duration_seconds";

/// Wraps a file store and adds the series. Ids are reassigned to keep them dense.
pub(crate) struct ScrapeEnds {
    inner: Box<dyn Store>,
    /// By the caller's id: reassigned id, source and endpoint, and whether it is a scrape's duration.
    known: Vec<Known>,
    next: u32,
    /// Duration series made here, by source and endpoint.
    durations: HashMap<(Arc<str>, Arc<str>), SeriesId>,
}

struct Known {
    id: SeriesId,
    source: Arc<str>,
    endpoint_url: Arc<str>,
    is_duration: bool,
}

impl ScrapeEnds {
    pub(crate) fn new(inner: Box<dyn Store>) -> Self {
        Self {
            inner,
            known: Vec::new(),
            next: 0,
            durations: HashMap::new(),
        }
    }

    /// The id is used up even if the store rejects the series: later ones must keep theirs.
    fn add(&mut self, def: Arc<SeriesDef>) -> (SeriesId, Result<()>) {
        let id = SeriesId(self.next);
        self.next += 1;
        (id, self.inner.write(Record::Series(id, def)))
    }

    fn duration(&mut self, batch: &SampleBatch) -> Result<Option<Sample>> {
        let known = |sample: &Sample| self.known.get(sample.series.0 as usize);
        if batch.end_ns <= batch.start_ns || batch.samples.iter().filter_map(known).any(|k| k.is_duration) {
            return Ok(None);
        }
        let Some(first) = batch.samples.first().and_then(known) else {
            return Ok(None);
        };
        let key = (Arc::clone(&first.source), Arc::clone(&first.endpoint_url));
        let series = match self.durations.get(&key) {
            Some(&id) => id,
            None => {
                let job = serde_json::Value::from(key.0.as_ref());
                let (id, added) = self.add(Arc::new(SeriesDef {
                    metric_name: SCRAPE_DURATION.into(),
                    labels: format!("{{\"job\":{job}}}").into(),
                    metric_type: MetricType::Gauge,
                    unit: "seconds".into(),
                    source: "self".into(),
                    endpoint_url: Arc::clone(&key.1),
                }));
                self.durations.insert(key, id);
                added?;
                id
            }
        };
        // Exact to the nanosecond for anything shorter than three months.
        let value = (batch.end_ns - batch.start_ns) as f64 / 1e9;
        Ok(Some(Sample {
            series,
            timestamp_ns: batch.start_ns,
            value,
        }))
    }
}

impl Store for ScrapeEnds {
    fn write(&mut self, record: Record) -> Result<()> {
        match record {
            Record::Series(_, def) => {
                let (id, added) = self.add(Arc::clone(&def));
                self.known.push(Known {
                    id,
                    source: Arc::clone(&def.source),
                    endpoint_url: Arc::clone(&def.endpoint_url),
                    is_duration: def.metric_name.as_ref() == SCRAPE_DURATION,
                });
                added
            }
            Record::Samples(batch) => {
                let duration = self.duration(&batch)?;
                let mut batch = Arc::unwrap_or_clone(batch);
                for sample in &mut batch.samples {
                    sample.series = self.known[sample.series.0 as usize].id;
                }
                batch.samples.extend(duration);
                self.inner.write(Record::Samples(Arc::new(batch)))
            }
            other => self.inner.write(other),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }

    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles> {
        self.inner.finish(manifest)
    }
}
