//! Reassembles histograms from their samples, and computes the observations between two scrapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::INTERVAL_QUANTILES;
use super::estimate::Estimator;
use super::interval;
pub use super::interval::Interval;
use super::series::{Builder, phase_at};
use run_model::labels::{self, Labels};
use run_model::saw_tooth::alternates;
use run_model::{MetricType, RunData, SeriesData, SeriesDef};

/// One histogram (one label set of one family at one endpoint) over the whole run.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Family name, without `_bucket`.
    pub name: String,
    /// Labels without `le`, as label text.
    pub labels: Arc<str>,
    /// Definition of its count series: unit, source, endpoint.
    pub origin: Arc<SeriesDef>,
    /// Upper bounds, ascending; the last is `+Inf`.
    pub bounds: Vec<f64>,
    /// Times of the scrapes that contained every sample of the histogram.
    pub timestamps_ns: Vec<i64>,
    /// Phase of each scrape.
    pub phases: Vec<Arc<str>>,
    /// Cumulative buckets as exposed, one row of `bounds.len()` per scrape.
    pub cumulative: Vec<f64>,
    /// `_sum` per scrape.
    pub sums: Vec<f64>,
    /// `_count` per scrape.
    pub totals: Vec<f64>,
}

impl Histogram {
    /// Buckets of scrape `i`, cumulative.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.cumulative[i * self.bounds.len()..(i + 1) * self.bounds.len()]
    }

    /// Observations between successive scrapes; the first scrape is a baseline.
    ///
    /// There are none if the counts alternate between those of several processes.
    pub fn intervals(&self) -> Vec<Interval> {
        if alternates(&self.totals) {
            return Vec::new();
        }
        (1..self.timestamps_ns.len())
            .map(|i| self.interval(i - 1, i))
            .collect()
    }

    fn interval(&self, before: usize, after: usize) -> Interval {
        let reset = self.totals[after] < self.totals[before];
        let base = |value: f64| if reset { 0.0 } else { value };
        let (old, new) = (self.row(before), self.row(after));
        let mut below = 0.0;
        let counts = old
            .iter()
            .zip(new)
            .map(|(o, n)| {
                let cumulative = n - base(*o);
                // An inconsistent page can make a cumulative bucket smaller than the one below it.
                let count = (cumulative - below).max(0.0);
                below = cumulative.max(below);
                count
            })
            .collect();
        let sum = self.sums[after] - base(self.sums[before]);
        let count = self.totals[after] - base(self.totals[before]);
        Interval {
            index: after,
            start_ns: self.timestamps_ns[before],
            end_ns: self.timestamps_ns[after],
            counts,
            sum,
            count,
            reset,
            known: if count == 1.0 { vec![sum] } else { Vec::new() },
        }
    }

    /// All observations of the run; `None` with fewer than two scrapes.
    pub fn whole(&self) -> Option<Interval> {
        let mut intervals = self.intervals().into_iter();
        let mut all = intervals.next()?;
        for more in intervals {
            interval::add(&mut all, &more);
        }
        Some(all)
    }
}

#[derive(Default)]
struct Parts<'a> {
    buckets: Vec<(f64, &'a SeriesData)>,
    sum: Option<&'a SeriesData>,
    count: Option<&'a SeriesData>,
}

/// Returns every histogram of the run with its `_bucket`, `_sum` and `_count` samples.
pub fn collect(run: &RunData) -> Vec<Histogram> {
    let mut families: BTreeMap<(String, Labels, Arc<str>), Parts<'_>> = BTreeMap::new();
    for series in run
        .series
        .iter()
        .filter(|s| s.def.metric_type == MetricType::Histogram)
    {
        let name = &*series.def.metric_name;
        let mut labels = labels::parse(&series.def.labels);
        let endpoint = Arc::clone(&series.def.endpoint_url);
        if let Some(family) = name.strip_suffix("_bucket") {
            let Some(bound) = labels.remove("le").and_then(|le| parse_bound(&le)) else {
                continue;
            };
            families
                .entry((family.to_owned(), labels, endpoint))
                .or_default()
                .buckets
                .push((bound, series));
        } else if let Some(family) = name.strip_suffix("_sum") {
            families
                .entry((family.to_owned(), labels, endpoint))
                .or_default()
                .sum = Some(series);
        } else if let Some(family) = name.strip_suffix("_count") {
            families
                .entry((family.to_owned(), labels, endpoint))
                .or_default()
                .count = Some(series);
        }
    }
    families
        .into_iter()
        .filter_map(|((name, labels, _), parts)| assemble(name, &labels, parts))
        .collect()
}

fn parse_bound(le: &str) -> Option<f64> {
    let bound: f64 = le.trim_start_matches('+').parse().ok()?;
    (!bound.is_nan()).then_some(bound)
}

fn assemble(name: String, labels: &Labels, mut parts: Parts<'_>) -> Option<Histogram> {
    let (sum, count) = (parts.sum?, parts.count?);
    parts.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if parts.buckets.last()?.0 != f64::INFINITY {
        // Some exporters omit `+Inf`, which equals the count.
        parts.buckets.push((f64::INFINITY, count));
    }
    let mut out = Histogram {
        name,
        labels: labels::write(labels),
        origin: Arc::clone(&count.def),
        bounds: parts.buckets.iter().map(|b| b.0).collect(),
        timestamps_ns: Vec::with_capacity(count.values.len()),
        phases: Vec::with_capacity(count.values.len()),
        cumulative: Vec::with_capacity(count.values.len() * parts.buckets.len()),
        sums: Vec::with_capacity(count.values.len()),
        totals: Vec::with_capacity(count.values.len()),
    };
    let mut cursors = vec![0; parts.buckets.len()];
    let mut sum_cursor = 0;
    let mut row = Vec::with_capacity(parts.buckets.len());
    for (i, (&t, &total)) in count.timestamps_ns.iter().zip(&count.values).enumerate() {
        row.clear();
        for ((_, bucket), cursor) in parts.buckets.iter().zip(&mut cursors) {
            row.extend(value_at(bucket, cursor, t));
        }
        let Some(s) = value_at(sum, &mut sum_cursor, t) else {
            continue;
        };
        // Skip a scrape that lacks a sample: it cannot be distinguished from one with fewer observations.
        if row.len() != parts.buckets.len() || !total.is_finite() {
            continue;
        }
        out.cumulative.extend_from_slice(&row);
        out.timestamps_ns.push(t);
        out.phases.push(phase_at(count, i));
        out.sums.push(s);
        out.totals.push(total);
    }
    Some(out)
}

/// The finite value at exactly `t`, walking forward from the cursor.
fn value_at(series: &SeriesData, cursor: &mut usize, t: i64) -> Option<f64> {
    while series.timestamps_ns.get(*cursor).is_some_and(|&at| at < t) {
        *cursor += 1;
    }
    (series.timestamps_ns.get(*cursor) == Some(&t))
        .then(|| series.values[*cursor])
        .filter(|v| v.is_finite())
}

/// Adds count, mean and quantile estimates per interval under `name`, with the label `derived_from` if given.
pub fn append(histogram: &Histogram, name: &str, derived_from: Option<&str>, out: &mut Vec<SeriesData>) {
    let def = &histogram.origin;
    let labels = match derived_from {
        Some(from) => labels::with(&histogram.labels, "derived_from", from),
        None => Arc::clone(&histogram.labels),
    };
    let gauge = |ending: &str, unit: &str| {
        Builder::gauge(&format!("{name}_{ending}"), Arc::clone(&labels), unit, def)
    };
    let mut count = gauge("interval_count", "observations");
    let mut mean = gauge("interval_mean", &def.unit);
    let mut quantiles: Vec<_> = INTERVAL_QUANTILES
        .iter()
        .map(|(q, ending)| (*q, gauge(ending, &def.unit)))
        .collect();
    let intervals = histogram.intervals();
    let estimator = Estimator::learn(&histogram.bounds, &intervals);
    for interval in &intervals {
        let phase = &histogram.phases[interval.index];
        count.push(interval.end_ns, interval.count, phase);
        let Some(m) = interval.mean() else { continue };
        mean.push(interval.end_ns, m, phase);
        for (q, series) in &mut quantiles {
            if let Some(value) = estimator.quantile(interval, *q) {
                series.push(interval.end_ns, value, phase);
            }
        }
    }
    out.push(count.finish());
    out.push(mean.finish());
    out.extend(quantiles.into_iter().map(|(_, series)| series.finish()));
}
