//! A run in progress, in bounded memory.

use std::time::Duration;

use run_model::{EventKind, Manifest, Outcome, Record, RunData, SampleBatch, SeriesData};

use super::{Analysis, EndpointFigures, Figures};
use crate::derive::goodput::{self, Limits};
use crate::derive::series::sort_key;

/// Maximum number of points of one series, requests and events, whatever time they span.
const MOST_POINTS: usize = 100_000;
const MOST_REQUESTS: usize = 100_000;
const MOST_EVENTS: usize = 10_000;

/// The newest part of a run in progress, fed with records.
///
/// It keeps data younger than a given age in a [`RunData`], so that code for finished runs works for live
/// ones too ([`LiveView::data`], [`LiveView::analysis`]), and counts over the whole run in [`LiveTotals`].
/// Memory is bounded by that age, and by 100,000 points per series, 100,000 requests and 10,000 events. The
/// newest value of each series is always kept.
///
/// The records come from a subscription of the recorder, on which this type does not depend:
///
/// ```no_run
/// # struct Subscription;
/// # impl Subscription { fn take(&self) -> Option<Vec<run_model::Record>> { None } }
/// # let subscription = Subscription; // session.recorder().subscribe(Filter::all(), 8 << 20)
/// use std::time::Duration;
/// use run_analysis::view::LiveView;
///
/// let mut view = LiveView::new(Duration::from_secs(300));
/// while let Some(records) = subscription.take() {
///     view.apply_all(&records);
///     let figures = view.figures(Duration::from_secs(10));
///     println!("{:?} running, {:?} tokens/s", figures.engine.running,
///         figures.engine.generation_tokens_per_second);
/// }
/// ```
#[derive(Debug, Clone)]
pub struct LiveView {
    keep_ns: i64,
    data: RunData,
    /// By series id: its index in `data.series`, which is sorted by name.
    places: Vec<Option<usize>>,
    newest_ns: i64,
    phase: String,
    limits: Option<Limits>,
    totals: LiveTotals,
}

/// Counts since the view began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LiveTotals {
    /// Samples.
    pub samples: u64,
    /// Requests answered in full.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Output tokens of completed requests that reported them.
    pub output_tokens: u64,
    /// Requests within the goodput limits; 0 without limits.
    pub good: u64,
    /// Events of severity warning.
    pub warnings: u64,
    /// Events of severity error.
    pub errors: u64,
    /// Stretches without samples of an endpoint or a GPU ([`EventKind::Gap`]).
    pub gaps: u64,
    /// Reports of records that the recorder dropped ([`EventKind::Dropped`]).
    pub drops: u64,
}

impl LiveView {
    /// Creates a view that keeps data younger than `keep`.
    pub fn new(keep: Duration) -> Self {
        Self {
            keep_ns: i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX),
            data: RunData::default(),
            places: Vec::new(),
            newest_ns: i64::MIN,
            phase: String::new(),
            limits: None,
            totals: LiveTotals::default(),
        }
    }

    /// Applies these goodput limits to requests ([`Figures::client`], [`LiveTotals::good`]).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Marks the run as simulated, even if its samples do not.
    #[must_use]
    pub fn simulated(mut self, simulated: bool) -> Self {
        self.data.manifest.simulated = simulated;
        self
    }

    /// Sets what is known of the run. Goodput limits among its facts apply to the requests that follow, unless
    /// [`LiveView::limits`] set others.
    pub fn describe(&mut self, manifest: Manifest) {
        self.limits = self.limits.or_else(|| Limits::of_manifest(&manifest));
        let simulated = self.data.manifest.simulated;
        self.data.manifest = manifest;
        self.data.manifest.simulated |= simulated;
    }

    /// Applies records in order.
    pub fn apply_all<'r>(&mut self, records: impl IntoIterator<Item = &'r Record>) {
        for record in records {
            self.apply(record);
        }
    }

    /// Applies one record. Samples of a series that has not been defined are ignored.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Series(id, def) => {
                let series = &mut self.data.series;
                let at = series.partition_point(|other| sort_key(&other.def) < sort_key(def));
                series.insert(
                    at,
                    SeriesData {
                        def: def.clone(),
                        timestamps_ns: Vec::new(),
                        values: Vec::new(),
                        phases: Vec::new(),
                    },
                );
                for place in self.places.iter_mut().flatten() {
                    *place += usize::from(*place >= at);
                }
                let id = id.0 as usize;
                if id >= self.places.len() {
                    self.places.resize(id + 1, None);
                }
                self.places[id] = Some(at);
            }
            Record::Samples(batch) => self.samples(batch),
            Record::Request(row) => {
                match row.outcome {
                    Outcome::Completed => {
                        self.totals.completed += 1;
                        self.totals.output_tokens += u64::from(row.output_tokens.unwrap_or(0));
                    }
                    Outcome::Failed => self.totals.failed += 1,
                    _ => {}
                }
                let is_good = |limits| goodput::count(std::slice::from_ref(row), limits).good == 1;
                self.totals.good += u64::from(self.limits.as_ref().is_some_and(is_good));
                self.advance(row.done_ns.unwrap_or(row.issued_ns));
                let requests = &mut self.data.requests;
                let at = requests.partition_point(|other| other.issued_ns <= row.issued_ns);
                requests.insert(at, row.clone());
                if requests.len() >= 2 * MOST_REQUESTS {
                    requests.drain(..MOST_REQUESTS);
                }
            }
            // Figures use none of these.
            Record::Help(..) | Record::Batch(_) | Record::Step(_) | Record::EngineRequest(_) => {}
            Record::Event(event) => {
                match event.severity {
                    run_model::Severity::Warning => self.totals.warnings += 1,
                    run_model::Severity::Error => self.totals.errors += 1,
                    _ => {}
                }
                match event.kind {
                    EventKind::Gap => self.totals.gaps += 1,
                    EventKind::Dropped => self.totals.drops += 1,
                    _ => {}
                }
                self.advance(event.timestamp_ns);
                let events = &mut self.data.events;
                let at = events.partition_point(|other| other.timestamp_ns <= event.timestamp_ns);
                events.insert(at, event.clone());
                if events.len() >= 2 * MOST_EVENTS {
                    events.drain(..MOST_EVENTS);
                }
            }
        }
    }

    fn samples(&mut self, batch: &SampleBatch) {
        self.totals.samples += batch.samples.len() as u64;
        if *batch.phase != *self.phase {
            self.phase = batch.phase.to_string();
        }
        for sample in &batch.samples {
            let place = self.places.get(sample.series.0 as usize).copied().flatten();
            let Some(series) = place.and_then(|at| self.data.series.get_mut(at)) else {
                continue;
            };
            // Times must ascend for binary search, so a late batch is dropped.
            if series
                .timestamps_ns
                .last()
                .is_some_and(|last| *last > sample.timestamp_ns)
            {
                continue;
            }
            if series
                .phases
                .last()
                .is_none_or(|(_, phase)| *phase != batch.phase)
            {
                series.phases.push((series.values.len(), batch.phase.clone()));
            }
            series.timestamps_ns.push(sample.timestamp_ns);
            series.values.push(sample.value);
            trim(
                series,
                sample.timestamp_ns.saturating_sub(self.keep_ns),
                self.keep_ns,
            );
        }
        self.advance(batch.start_ns);
    }

    /// Drops old requests and events, in large steps, so that the rest is moved rarely.
    fn advance(&mut self, now_ns: i64) {
        self.newest_ns = self.newest_ns.max(now_ns);
        let oldest_ns = self.newest_ns.saturating_sub(self.keep_ns);
        let too_old = oldest_ns.saturating_sub(self.keep_ns / 4);
        let requests = &mut self.data.requests;
        let ended_ns = |r: &run_model::RequestRow| r.done_ns.unwrap_or(r.issued_ns);
        if requests.first().is_some_and(|first| ended_ns(first) < too_old) {
            requests.retain(|request| ended_ns(request) >= oldest_ns);
        }
        let events = &mut self.data.events;
        if events.first().is_some_and(|first| first.timestamp_ns < too_old) {
            events.retain(|event| event.end_ns.unwrap_or(event.timestamp_ns) >= oldest_ns);
        }
    }

    /// The kept data as a run: series sorted by name, requests by issue, events by time.
    pub fn data(&self) -> &RunData {
        &self.data
    }

    /// An analysis of the kept data.
    pub fn analysis(&self) -> Analysis<'_> {
        Analysis::of(&self.data)
    }

    /// Computes the figures of the last `window` before the newest record.
    pub fn figures(&self, window: Duration) -> Figures {
        let window_ns = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        if self.newest_ns == i64::MIN {
            return Figures::default();
        }
        self.figures_between(self.newest_ns.saturating_sub(window_ns), self.newest_ns)
    }

    /// Computes the figures of any window within the kept data.
    pub fn figures_between(&self, from_ns: i64, to_ns: i64) -> Figures {
        Figures::of(&self.data, from_ns, to_ns, self.limits.as_ref())
    }

    /// Computes the figures of each endpoint in any window within the kept data.
    pub fn endpoints_between(&self, from_ns: i64, to_ns: i64) -> Vec<EndpointFigures> {
        EndpointFigures::of(&self.data, from_ns, to_ns)
    }

    /// Counts since the view began.
    pub fn totals(&self) -> LiveTotals {
        self.totals
    }

    /// Time of the newest record; `None` before the first.
    pub fn newest_ns(&self) -> Option<i64> {
        (self.newest_ns > i64::MIN).then_some(self.newest_ns)
    }

    /// The phase of the newest samples; empty before the first mark.
    pub fn phase(&self) -> &str {
        &self.phase
    }
}

/// Removes samples older than `oldest_ns` once they span a quarter of `keep_ns`, except the newest.
fn trim(series: &mut SeriesData, oldest_ns: i64, keep_ns: i64) {
    let first = series.timestamps_ns.first().copied().unwrap_or(i64::MAX);
    let is_long = series.values.len() >= 2 * MOST_POINTS;
    if first >= oldest_ns.saturating_sub(keep_ns / 4) && !is_long {
        return;
    }
    let mut cut = series.timestamps_ns.partition_point(|t| *t < oldest_ns);
    if is_long {
        cut = cut.max(MOST_POINTS);
    }
    cut = cut.min(series.values.len() - 1);
    series.timestamps_ns.drain(..cut);
    series.values.drain(..cut);
    // The phase of the first kept sample begins with it.
    let in_force = series
        .phases
        .partition_point(|(start, _)| *start <= cut)
        .saturating_sub(1);
    series.phases.drain(..in_force);
    for (start, _) in &mut series.phases {
        *start = start.saturating_sub(cut);
    }
}
