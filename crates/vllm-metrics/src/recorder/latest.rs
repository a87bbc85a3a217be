//! The newest value of every series: a subscriber that keeps one value per series.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Filter, Recorder, Subscription};
use run_model::{HelpTexts, Record, SeriesDef};

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

/// Capacity for the records between two folds, which are at most about a second apart.
const CAPACITY_BYTES: usize = 8 << 20;

/// Keeps the newest value of each series.
#[derive(Debug)]
pub(crate) struct LatestValues {
    subscription: Subscription,
    table: Mutex<Vec<LatestSample>>,
    help: Mutex<HelpTexts>,
}

impl LatestValues {
    pub(crate) fn subscribe(recorder: &Recorder) -> Arc<Self> {
        Arc::new(Self {
            subscription: recorder.subscribe(Filter::none().samples(true), CAPACITY_BYTES),
            table: Mutex::default(),
            help: Mutex::default(),
        })
    }

    /// Applies records published since the last call. Call it at least once a second.
    pub(crate) fn fold(&self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for record in self.subscription.try_take() {
            match record {
                Record::Help(family, text) => {
                    let mut help = self.help.lock().unwrap_or_else(PoisonError::into_inner);
                    help.add(&family, &text);
                }
                // Ids are dense and arrive in order.
                Record::Series(_, def) => table.push(LatestSample {
                    def,
                    timestamp_ns: i64::MIN,
                    value: f64::NAN,
                }),
                Record::Samples(batch) => {
                    for sample in &batch.samples {
                        if let Some(latest) = table.get_mut(sample.series.0 as usize) {
                            (latest.timestamp_ns, latest.value) = (sample.timestamp_ns, sample.value);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// What servers have said about their metrics by the last fold.
    pub(crate) fn help(&self) -> HelpTexts {
        self.help.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the newest samples not older than `max_age` at `now_ns`, sorted by name, labels and endpoint.
    pub(crate) fn fresh(&self, now_ns: i64, max_age: Duration) -> Vec<LatestSample> {
        self.fold();
        let oldest_ns = now_ns.saturating_sub(i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX));
        let mut fresh: Vec<LatestSample> = {
            let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table
                .iter()
                .filter(|latest| latest.timestamp_ns > i64::MIN && latest.timestamp_ns >= oldest_ns)
                .cloned()
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
