//! Builds derived series: their definition, their points with phases, and their order.

use std::sync::Arc;

use run_model::{MetricType, SeriesData, SeriesDef};

/// `derived`, or `derived-simulated` for simulated data.
pub fn derived_source(origin: &SeriesDef) -> Arc<str> {
    if origin.source.ends_with("-simulated") {
        "derived-simulated".into()
    } else {
        "derived".into()
    }
}

/// Phase of the sample with this index; empty before the first mark.
pub fn phase_at(series: &SeriesData, index: usize) -> Arc<str> {
    let after = series.phases.partition_point(|(first, _)| *first <= index);
    match after.checked_sub(1) {
        Some(run) => Arc::clone(&series.phases[run].1),
        None => Arc::from(""),
    }
}

/// A derived series whose values are quotients over intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct Quotients {
    /// The quotients.
    pub series: SeriesData,
    /// Denominators of the values: with these weights, their mean is the quotient of the whole run.
    pub weights: Vec<f64>,
}

/// Collects the points of one derived series.
#[derive(Debug)]
pub struct Builder {
    data: SeriesData,
}

impl Builder {
    /// Creates a gauge series with the endpoint and simulated mark of `origin`.
    pub fn gauge(name: &str, labels: Arc<str>, unit: &str, origin: &SeriesDef) -> Self {
        Self::typed(name, labels, unit, MetricType::Gauge, origin)
    }

    /// Like [`Builder::gauge`], with a given type.
    pub fn typed(
        name: &str,
        labels: Arc<str>,
        unit: &str,
        metric_type: MetricType,
        origin: &SeriesDef,
    ) -> Self {
        let def = SeriesDef {
            metric_name: name.into(),
            labels,
            metric_type,
            unit: unit.into(),
            source: derived_source(origin),
            endpoint_url: Arc::clone(&origin.endpoint_url),
        };
        Self {
            data: SeriesData {
                def: Arc::new(def),
                timestamps_ns: Vec::new(),
                values: Vec::new(),
                phases: Vec::new(),
            },
        }
    }

    /// Appends a point. Non-finite values are skipped: absence is a missing row.
    pub fn push(&mut self, timestamp_ns: i64, value: f64, phase: &Arc<str>) {
        if !value.is_finite() {
            return;
        }
        if self.data.phases.last().is_none_or(|(_, last)| last != phase) {
            self.data.phases.push((self.data.values.len(), Arc::clone(phase)));
        }
        self.data.timestamps_ns.push(timestamp_ns);
        self.data.values.push(value);
    }

    /// Returns the finished series.
    pub fn finish(self) -> SeriesData {
        self.data
    }
}

/// The order of series in a run: name, labels, endpoint.
pub fn sort_key(def: &SeriesDef) -> (&str, &str, &str) {
    (&def.metric_name, &def.labels, &def.endpoint_url)
}

/// Sorts by name, then labels, then endpoint, as in every run.
pub fn sort(series: &mut [SeriesData]) {
    series.sort_by(|a, b| sort_key(&a.def).cmp(&sort_key(&b.def)));
}
