//! A sink that keeps everything in memory and lets a test wait for expected data.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use run_model::{EventRow, SampleBatch, SampleSink, SeriesDef, SeriesId};

/// Everything published.
#[derive(Default, Clone)]
pub(crate) struct Kept {
    pub(crate) series: Vec<SeriesDef>,
    pub(crate) ids: HashMap<SeriesDef, SeriesId>,
    pub(crate) batches: Vec<SampleBatch>,
    pub(crate) events: Vec<EventRow>,
}

#[derive(Clone, Default)]
pub(crate) struct VecSink {
    kept: Arc<(Mutex<Kept>, Condvar)>,
}

/// One value of one series, with its batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) value: f64,
    pub(crate) timestamp_ns: i64,
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
}

pub(crate) fn unix_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

impl VecSink {
    /// Waits until `done` returns true, or panics after 30 s with what there is.
    pub(crate) fn wait(&self, done: impl Fn(&Kept) -> bool) -> Kept {
        let (kept, changed) = &*self.kept;
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut guard = kept.lock().unwrap();
        while !done(&guard) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not in 30 s; events: {:#?}", guard.events);
            guard = changed.wait_timeout(guard, left).unwrap().0;
        }
        guard.clone()
    }

    pub(crate) fn kept(&self) -> Kept {
        self.kept.0.lock().unwrap().clone()
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.kept.0.lock().unwrap());
        self.kept.1.notify_all();
    }
}

impl Kept {
    /// Points of the series with this name whose labels contain all of `labels` (as `"key":"value"`).
    pub(crate) fn points(&self, name: &str, labels: &[&str]) -> Vec<Point> {
        let wanted: Vec<SeriesId> = self
            .ids
            .iter()
            .filter(|(def, _)| {
                &*def.metric_name == name && labels.iter().all(|label| def.labels.contains(label))
            })
            .map(|(_, id)| *id)
            .collect();
        let of_batch = |batch: &SampleBatch| {
            let (start_ns, end_ns) = (batch.start_ns, batch.end_ns);
            let of_sample = |sample: &run_model::Sample| Point {
                value: sample.value,
                timestamp_ns: sample.timestamp_ns,
                start_ns,
                end_ns,
            };
            let ours = batch
                .samples
                .iter()
                .filter(|sample| wanted.contains(&sample.series));
            ours.map(of_sample).collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(of_batch).collect()
    }

    pub(crate) fn values(&self, name: &str, labels: &[&str]) -> Vec<f64> {
        self.points(name, labels)
            .iter()
            .map(|point| point.value)
            .collect()
    }

    pub(crate) fn events(&self, kind: &str) -> Vec<&EventRow> {
        self.events.iter().filter(|event| &*event.kind == kind).collect()
    }
}

impl SampleSink for VecSink {
    fn now_ns(&self) -> i64 {
        unix_ns()
    }

    fn intern(&mut self, def: SeriesDef) -> SeriesId {
        let mut id = SeriesId(0);
        self.change(|kept| {
            id = *kept.ids.entry(def.clone()).or_insert_with(|| {
                kept.series.push(def);
                SeriesId(kept.series.len() as u32 - 1)
            });
        });
        id
    }

    fn samples(&mut self, batch: SampleBatch) {
        self.change(|kept| kept.batches.push(batch));
    }

    fn event(&mut self, event: EventRow) {
        self.change(|kept| kept.events.push(event));
    }

    fn fork(&self) -> Box<dyn SampleSink> {
        Box::new(self.clone())
    }
}
