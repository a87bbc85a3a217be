//! Assembles rows in any order into one [`RunData`]: the last step of every reader.

use std::collections::HashMap;
use std::sync::Arc;

use super::select::Selection;
use run_model::{
    BatchRow, EngineRequestRow, EventRow, Manifest, MetricType, RequestRow, RunData, SeriesData, SeriesDef,
    StepRow,
};

/// Number of a phase name within one [`Assembler`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhaseId(u32);

#[derive(Debug)]
struct Pending {
    def: Arc<SeriesDef>,
    rows: Vec<(i64, f64, PhaseId)>,
}

/// Collects rows and sorts them at the end.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    series: Vec<Pending>,
    by_def: HashMap<Arc<SeriesDef>, usize>,
    by_text: HashMap<String, usize>,
    key: String,
    phases: Vec<Arc<str>>,
    by_phase: HashMap<Arc<str>, PhaseId>,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) requests: Vec<RequestRow>,
    pub(crate) batches: Vec<BatchRow>,
    pub(crate) steps: Vec<StepRow>,
    pub(crate) engine_requests: Vec<EngineRequestRow>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) notes: Vec<String>,
    pub(crate) selection: Selection,
    /// First and last time of all samples, selected or not.
    times: Option<(i64, i64)>,
}

/// Index of a series that is not selected.
const UNWANTED: usize = usize::MAX;

impl Assembler {
    /// Creates an assembler that keeps only what `selection` selects.
    pub(crate) fn selecting(selection: Selection) -> Self {
        Self {
            selection,
            ..Self::default()
        }
    }

    /// Returns the series' index for [`Assembler::push`].
    pub(crate) fn series(&mut self, def: SeriesDef) -> usize {
        if !self.selection.has_metric(&def.metric_name) {
            return UNWANTED;
        }
        if let Some(&index) = self.by_def.get(&def) {
            return index;
        }
        let def = Arc::new(def);
        self.series.push(Pending {
            def: Arc::clone(&def),
            rows: Vec::new(),
        });
        self.by_def.insert(def, self.series.len() - 1);
        self.series.len() - 1
    }

    /// Like [`Assembler::series`] for a row of text: name, labels, type, unit, source and URL. Known series cost a lookup
    /// and no allocation; the labels of a new one are checked.
    pub(crate) fn series_of(
        &mut self,
        texts: [&str; 6],
        check_labels: impl FnOnce(&str) -> Result<(), String>,
    ) -> Result<usize, String> {
        self.key.clear();
        for text in texts {
            self.key.push_str(text);
            self.key.push('\0');
        }
        if let Some(&index) = self.by_text.get(self.key.as_str()) {
            return Ok(index);
        }
        let [name, labels, kind, unit, source, url] = texts;
        check_labels(labels)?;
        let index = self.series(SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type: MetricType::from_text(kind).unwrap_or(MetricType::Unknown),
            unit: unit.into(),
            source: source.into(),
            endpoint_url: url.into(),
        });
        self.by_text.insert(self.key.clone(), index);
        Ok(index)
    }

    /// Returns the phase's index for [`Assembler::push`].
    pub(crate) fn phase(&mut self, name: &str) -> PhaseId {
        if let Some(&id) = self.by_phase.get(name) {
            return id;
        }
        let id = PhaseId(u32::try_from(self.phases.len()).expect("a run has fewer than four billion phases"));
        let name: Arc<str> = Arc::from(name);
        self.phases.push(Arc::clone(&name));
        self.by_phase.insert(name, id);
        id
    }

    /// Adds one sample.
    pub(crate) fn push(&mut self, series: usize, timestamp_ns: i64, value: f64, phase: PhaseId) {
        let (first_ns, last_ns) = self.times.unwrap_or((timestamp_ns, timestamp_ns));
        self.times = Some((first_ns.min(timestamp_ns), last_ns.max(timestamp_ns)));
        if series != UNWANTED && self.selection.has_time(timestamp_ns) {
            self.series[series].rows.push((timestamp_ns, value, phase));
        }
    }

    /// First and last time of all samples, selected or not.
    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        self.times
    }

    /// Replaces the description of every series, after the last sample.
    pub(crate) fn describe(&mut self, of: impl Fn(&SeriesDef) -> SeriesDef) {
        for series in &mut self.series {
            series.def = Arc::new(of(&series.def));
        }
    }

    /// Sorts everything into the order of [`RunData`]. Rows of the same time keep their order.
    pub(crate) fn finish(mut self) -> RunData {
        let manifest = self.manifest.take().unwrap_or_default();
        if manifest.ended_ns.is_none() {
            self.notes.push(
                "the run was cut: no end was recorded, and what came after the last flush is lost".into(),
            );
        }
        let phases = self.phases;
        let is_whole = self.selection.is_everything();
        let mut series: Vec<SeriesData> = self
            .series
            .into_iter()
            // A partial run contains only series with samples in it.
            .filter(|pending| is_whole || !pending.rows.is_empty())
            .map(|pending| finish_series(pending, &phases))
            .collect();
        series.sort_by(|a, b| {
            let key = |s: &SeriesData| {
                let def = Arc::clone(&s.def);
                (def, s.timestamps_ns.first().copied())
            };
            let ((a, a_first), (b, b_first)) = (key(a), key(b));
            (&a.metric_name, &a.labels, &a.endpoint_url, &a.source, a_first).cmp(&(
                &b.metric_name,
                &b.labels,
                &b.endpoint_url,
                &b.source,
                b_first,
            ))
        });
        let selection = &self.selection;
        self.requests.retain(|row| selection.has_request(row));
        self.batches.retain(|row| selection.has_batch(row));
        self.steps.retain(|row| selection.has_time(row.timestamp_ns));
        self.engine_requests
            .retain(|row| selection.overlaps(row.done_ns.saturating_sub(row.e2e_ns), row.done_ns));
        self.events.retain(|row| selection.has_event(row));
        self.requests.sort_by_key(|row| row.issued_ns);
        self.batches.sort_by_key(|row| row.batch_id);
        self.steps.sort_by_key(|row| (row.engine, row.step));
        self.engine_requests.sort_by_key(|row| row.done_ns);
        self.events.sort_by_key(|row| row.timestamp_ns);
        RunData {
            manifest,
            series,
            requests: self.requests,
            batches: self.batches,
            steps: self.steps,
            engine_requests: self.engine_requests,
            events: self.events,
            notes: self.notes,
        }
    }
}

fn finish_series(mut pending: Pending, names: &[Arc<str>]) -> SeriesData {
    if !pending.rows.is_sorted_by_key(|row| row.0) {
        pending.rows.sort_by_key(|row| row.0);
    }
    let mut phases: Vec<(usize, Arc<str>)> = Vec::new();
    let mut last = None;
    for (index, (_, _, phase)) in pending.rows.iter().enumerate() {
        if last != Some(*phase) {
            last = Some(*phase);
            phases.push((index, Arc::clone(&names[phase.0 as usize])));
        }
    }
    SeriesData {
        def: pending.def,
        timestamps_ns: pending.rows.iter().map(|row| row.0).collect(),
        values: pending.rows.iter().map(|row| row.1).collect(),
        phases,
    }
}
