//! The one bounded queue between everything that measures and the thread that writes: full means drop and count,
//! never wait.
//!
//! It is bounded by the bytes it holds, not by the number of records, since a scrape of a large page and a phase
//! mark differ a thousandfold. Series definitions always pass: a store that missed one could not place its samples.
//! Events have a reserve of their own, so that the news of a drop is not dropped too.

mod writer;

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use crate::model::{Record, Sample, SeriesDef, SeriesId};
pub(crate) use writer::{WriterReport, WriterThread, panic_text};

/// The sending end: cheap to clone, never blocks.
#[derive(Debug, Clone)]
pub(crate) struct RecordQueue {
    shared: Arc<Shared>,
    sender: Sender<Record>,
}

#[derive(Debug)]
struct Shared {
    capacity_bytes: usize,
    held_bytes: AtomicUsize,
    high_water_bytes: AtomicUsize,
    dropped: Drops,
    series: Mutex<HashMap<Arc<SeriesDef>, SeriesId>>,
}

#[derive(Debug, Default)]
struct Drops {
    samples: AtomicU64,
    rows: AtomicU64,
    events: AtomicU64,
}

/// What the queue has dropped so far because the store could not keep up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Samples, counted one by one.
    pub samples: u64,
    /// Request and batch rows.
    pub rows: u64,
    /// Events.
    pub events: u64,
}

impl Dropped {
    /// Whether anything was dropped.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// Share of the capacity, added on top of it, that only events may use.
const EVENT_RESERVE: usize = 8;

impl RecordQueue {
    /// A queue that holds at most about `capacity_bytes`, and its receiving end.
    pub(crate) fn new(capacity_bytes: usize) -> (Self, QueueEnd) {
        // Unbounded underneath: the byte count above it is the bound.
        let (sender, receiver) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared {
            capacity_bytes,
            held_bytes: AtomicUsize::new(0),
            high_water_bytes: AtomicUsize::new(0),
            dropped: Drops::default(),
            series: Mutex::new(HashMap::new()),
        });
        let end = QueueEnd {
            shared: Arc::clone(&shared),
            receiver,
        };
        (Self { shared, sender }, end)
    }

    /// Puts `record` into the queue, or drops and counts it.
    pub(crate) fn push(&self, record: Record) {
        let size = size_bytes(&record);
        let limit = match record {
            Record::Series(..) => usize::MAX,
            Record::Event(_) => self.shared.capacity_bytes + self.shared.capacity_bytes / EVENT_RESERVE,
            _ => self.shared.capacity_bytes,
        };
        let held = self.shared.held_bytes.fetch_add(size, Ordering::Relaxed) + size;
        if held > limit {
            self.shared.held_bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.dropped.count(&record);
            return;
        }
        self.shared.high_water_bytes.fetch_max(held, Ordering::Relaxed);
        if let Err(unsent) = self.sender.send(record) {
            // The writer is gone: nobody will take this or anything after it.
            self.shared.held_bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.dropped.count(&unsent.0);
        }
    }

    /// The id of the series `def`: the same for equal definitions. The definition itself enters the queue before
    /// the id is known to anyone, so it always comes before the first sample.
    pub(crate) fn intern(&self, def: SeriesDef) -> SeriesId {
        let mut series = self.shared.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = series.get(&def) {
            return *id;
        }
        let id = SeriesId(u32::try_from(series.len()).unwrap_or(u32::MAX));
        let def = Arc::new(def);
        series.insert(Arc::clone(&def), id);
        self.push(Record::Series(id, def));
        id
    }

    /// What was dropped so far.
    pub(crate) fn dropped(&self) -> Dropped {
        Dropped {
            samples: self.shared.dropped.samples.load(Ordering::Relaxed),
            rows: self.shared.dropped.rows.load(Ordering::Relaxed),
            events: self.shared.dropped.events.load(Ordering::Relaxed),
        }
    }

    /// The bytes it holds now.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.shared.held_bytes.load(Ordering::Relaxed) as u64
    }

    /// The most bytes it ever held.
    pub(crate) fn high_water_bytes(&self) -> u64 {
        self.shared.high_water_bytes.load(Ordering::Relaxed) as u64
    }

    /// Every series so far, in no order.
    pub(crate) fn series(&self) -> Vec<(Arc<SeriesDef>, SeriesId)> {
        let series = self.shared.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.iter().map(|(def, id)| (Arc::clone(def), *id)).collect()
    }

    /// How many distinct series there are so far.
    pub(crate) fn series_count(&self) -> usize {
        self.shared
            .series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

impl Drops {
    fn count(&self, record: &Record) {
        let (counter, n) = match record {
            Record::Samples(batch) => (&self.samples, batch.samples.len() as u64),
            Record::Event(_) => (&self.events, 1),
            _ => (&self.rows, 1),
        };
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// The receiving end; the writer thread owns it.
#[derive(Debug)]
pub(crate) struct QueueEnd {
    shared: Arc<Shared>,
    receiver: Receiver<Record>,
}

impl QueueEnd {
    /// Takes what is there now.
    pub(crate) fn drain(&self) -> impl Iterator<Item = Record> + '_ {
        self.receiver.try_iter().inspect(|record| self.taken(record))
    }

    fn taken(&self, record: &Record) {
        self.shared
            .held_bytes
            .fetch_sub(size_bytes(record), Ordering::Relaxed);
    }
}

/// About how much memory a record holds. Must not change while it is queued.
fn size_bytes(record: &Record) -> usize {
    size_of::<Record>()
        + match record {
            Record::Samples(batch) => batch.samples.len() * size_of::<Sample>(),
            Record::Event(event) => event.message.len() + event.attributes.len(),
            Record::Series(_, def) => size_of::<SeriesDef>() + def.metric_name.len() + def.labels.len(),
            Record::Request(_) | Record::Batch(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MetricType, SampleBatch};

    fn samples(n: usize) -> Record {
        let sample = Sample {
            series: SeriesId(0),
            timestamp_ns: 0,
            value: 0.0,
        };
        Record::Samples(SampleBatch {
            samples: vec![sample; n],
            ..SampleBatch::default()
        })
    }

    fn def(name: &str) -> SeriesDef {
        SeriesDef {
            metric_name: name.into(),
            labels: "{}".into(),
            metric_type: MetricType::Gauge,
            unit: "".into(),
            source: "self".into(),
            endpoint_url: "".into(),
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_but_lets_series_pass() {
        let (queue, end) = RecordQueue::new(10_000);
        queue.push(samples(300));
        queue.push(samples(300));
        assert_eq!(
            queue.dropped(),
            Dropped {
                samples: 300,
                rows: 0,
                events: 0
            }
        );
        queue.intern(def("a"));
        assert_eq!(end.receiver.len(), 2);
        for record in end.receiver.try_iter() {
            end.taken(&record);
        }
        queue.push(samples(300));
        assert_eq!(queue.dropped().samples, 300);
        assert!(queue.high_water_bytes() >= 300 * 24);
    }

    #[test]
    fn equal_definitions_share_an_id_and_come_once() {
        let (queue, end) = RecordQueue::new(10_000);
        assert_eq!(queue.intern(def("a")), SeriesId(0));
        assert_eq!(queue.intern(def("b")), SeriesId(1));
        assert_eq!(queue.intern(def("a")), SeriesId(0));
        assert_eq!(end.receiver.len(), 2);
        assert_eq!(queue.series_count(), 2);
    }

    #[test]
    fn without_a_writer_everything_counts_as_dropped() {
        let (queue, end) = RecordQueue::new(10_000);
        drop(end);
        queue.push(samples(3));
        assert_eq!(queue.dropped().samples, 3);
    }
}
