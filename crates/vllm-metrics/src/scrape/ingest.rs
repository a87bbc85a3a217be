//! Ingests pages recorded elsewhere, through the same code path as scraped ones.

use std::sync::Arc;

use exposition::Format;

use super::page::{Layout, PageReader};
use super::series::SeriesOrigin;
use crate::recorder::{Filter, Recorder, Subscription};
use crate::select::Selector;
use run_model::RunClock;
use run_model::{Record, SampleBatch};

/// Turns pages of one endpoint into records, exactly as a session does: parse, intern, publish.
///
/// ```
/// use vllm_metrics::{PageIngest, Record};
///
/// let mut ingest = PageIngest::new("http://server:8000/metrics");
/// assert_eq!(ingest.page(b"# TYPE up gauge\nup 1\n", 1_700_000_000_000_000_000), 1);
/// let records: Vec<Record> = ingest.records().collect();
/// assert!(matches!(records[..], [Record::Series(..), Record::Samples(_)]));
/// ```
#[derive(Debug)]
pub struct PageIngest {
    reader: PageReader,
    recorder: Recorder,
    subscription: Subscription,
}

/// Maximum size of the records between two calls of `records`.
const CAPACITY_BYTES: usize = 256 << 20;

impl PageIngest {
    /// Creates an ingest for pages of the endpoint `url`.
    pub fn new(url: &str) -> Self {
        let origin = SeriesOrigin {
            endpoint_url: Arc::from(url),
            labels: std::collections::BTreeMap::new(),
            simulated: false,
        };
        let recorder = Recorder::new(RunClock::start());
        let subscription = recorder.subscribe(Filter::all(), CAPACITY_BYTES);
        Self {
            reader: PageReader::new(origin, Vec::new(), Selector::all()),
            recorder,
            subscription,
        }
    }

    /// Ingests a page scraped at `at_ns` (since the Unix epoch) and returns its number of samples.
    /// OpenMetrics is recognized by its end mark.
    pub fn page(&mut self, body: &[u8], at_ns: i64) -> usize {
        let page = self
            .reader
            .read(body, Format::detect(body), at_ns, Layout::Full, &self.recorder);
        let samples = page.samples.len();
        self.recorder.samples(SampleBatch {
            start_ns: at_ns,
            end_ns: at_ns,
            phase: Arc::default(),
            samples: page.samples,
        });
        samples
    }

    /// Returns all records since the last call, in order; a series always precedes its first sample.
    pub fn records(&mut self) -> impl Iterator<Item = Record> {
        self.subscription.try_take().into_iter()
    }
}
