//! Everything that the scripts of a page need, as blocks of text.

use std::collections::BTreeMap;

use serde::Serialize;

use super::axes::axes;
use super::block::{Block, Clock};
use super::rows::{batches, request_columns, steps};
use super::{pack, thin};
use crate::model::{Chart, Histogram, Kind, Page, RequestLimit, Run, Span};
use crate::requests::{Metric, Requests};
use crate::{Options, Result, view};

/// What goes into the page.
#[derive(Debug)]
pub(crate) struct Payload {
    /// Element identifiers and their base64 text.
    pub blocks: Vec<(String, String)>,
    /// What was left out, for the reader.
    pub remarks: Vec<String>,
    /// Samples of series that are in the page.
    pub samples: usize,
    /// Bytes of base64 that series take.
    pub series_bytes: usize,
    /// Bytes of base64 that requests take.
    pub request_bytes: usize,
}

/// The block that says what is where.
#[derive(Serialize)]
struct Meta<'a> {
    charts: &'a [Chart],
    /// One list per chart with one list per line: index of its series in every run.
    chart_series: Vec<Vec<Vec<Option<usize>>>>,
    metrics: Vec<MetricMeta>,
    quantiles: [f64; 4],
    limits: &'a [RequestLimit],
    events_url: Option<&'a str>,
    runs: Vec<RunMeta<'a>>,
}

#[derive(Serialize)]
struct MetricMeta {
    id: &'static str,
    title: &'static str,
    definition: &'static str,
}

/// Times are milliseconds from the origin; numbers named `at` are offsets of columns in a block.
#[derive(Serialize)]
struct RunMeta<'a> {
    name: &'a str,
    simulated: bool,
    origin_ns: String,
    start: f64,
    end: f64,
    steady: Option<(f64, f64)>,
    phases: Vec<(&'a str, f64, f64)>,
    gaps: Vec<(&'a str, f64, f64)>,
    /// Time and severity; the texts are in the page's table.
    events: Vec<(f64, u8)>,
    /// Name and colour.
    rules: Vec<(&'a str, usize)>,
    bound: Vec<(f64, f64, usize)>,
    axes: Vec<AxisMeta>,
    series: Vec<SeriesMeta<'a>>,
    histograms: Vec<HistogramMeta<'a>>,
    requests: BTreeMap<&'static str, usize>,
    request_count: usize,
    request_exponent: u8,
    request_sample: bool,
    servers: &'a [String],
    steps: BTreeMap<&'static str, usize>,
    batches: BTreeMap<&'static str, usize>,
}

#[derive(Serialize)]
struct AxisMeta {
    at: usize,
    thinned: bool,
}

#[derive(Serialize)]
struct SeriesMeta<'a> {
    name: &'a str,
    labels: &'a BTreeMap<String, String>,
    unit: &'a str,
    source: &'a str,
    kind: Kind,
    description: &'a str,
    axis: usize,
    at: usize,
    gaps: Vec<(f64, f64)>,
}

#[derive(Serialize)]
struct HistogramMeta<'a> {
    id: &'a str,
    name: &'a str,
    title: &'a str,
    labels: &'a BTreeMap<String, String>,
    unit: &'a str,
    source: &'a str,
    description: &'a str,
    bounds: &'a [f64],
    starts: usize,
    ends: usize,
    /// One column per bucket.
    counts: Vec<usize>,
}

/// Encodes all runs. A run of more than the budget is thinned.
pub(crate) fn encode(page: &Page, requests: Vec<Requests>, options: &Options) -> Result<Payload> {
    let mut payload = Payload {
        blocks: Vec::new(),
        remarks: Vec::new(),
        samples: 0,
        series_bytes: 0,
        request_bytes: 0,
    };
    let mut runs = Vec::new();
    for (index, (run, requests)) in page.runs.iter().zip(requests).enumerate() {
        let total = requests.rows.len();
        let requests = requests.sampled(options.max_requests);
        let sampled = requests.rows.len() < total;
        let mut encoded = EncodedRun::of(run, &requests, sampled, false);
        let thinned = encoded.base64_bytes() > options.max_run_bytes;
        if thinned {
            encoded = EncodedRun::of(run, &requests, sampled, true);
        }
        remarks(run, total, &requests, sampled, thinned, &mut payload.remarks);
        payload.samples += encoded.samples;
        payload.series_bytes += encoded.series.len();
        payload.request_bytes += encoded.requests.len();
        runs.push(encoded.meta);
        for (name, text) in [
            ("series", encoded.series),
            ("requests", encoded.requests),
            ("histograms", encoded.histograms),
        ] {
            payload.blocks.push((format!("data-{name}-{index}"), text));
        }
    }
    let meta = Meta {
        charts: &page.charts,
        chart_series: chart_series(page),
        metrics: Metric::ALL
            .iter()
            .map(|m| MetricMeta {
                id: m.id(),
                title: m.title(),
                definition: m.definition(),
            })
            .collect(),
        quantiles: crate::numbers::QUANTILES,
        limits: &page.limits,
        events_url: page.live.as_ref().map(|live| &*live.events_url),
        runs,
    };
    payload
        .blocks
        .insert(0, ("data-meta".to_owned(), pack(&serde_json::to_vec(&meta)?)));
    Ok(payload)
}

fn remarks(
    run: &Run,
    total: usize,
    kept: &Requests,
    sampled: bool,
    thinned: bool,
    remarks: &mut Vec<String>,
) {
    let record = run.record_file.as_deref().map_or_else(
        || "all are in the recording".to_owned(),
        |file| format!("all are in {file}"),
    );
    let number = |n: usize| crate::format::number(n as f64);
    if sampled {
        remarks.push(format!(
            "Run {}: {} of {} requests are in this page: every one that failed, every one beyond p99.9, and a sample \
             of the rest. Numbers of the whole run and of the steady window are from all; numbers of a selection are \
             estimates; {record}.",
            run.name,
            number(kept.rows.len()),
            number(total),
        ));
    }
    if thinned {
        remarks.push(format!(
            "Run {}: series with more than {} points are drawn with the smallest, the largest and the last value of \
             each 1/{} of the run; {record}.",
            run.name,
            number(3 * thin::WINDOWS as usize),
            number(thin::WINDOWS as usize),
        ));
    }
}

/// Which series every line of every chart names, by run.
fn chart_series(page: &Page) -> Vec<Vec<Vec<Option<usize>>>> {
    let keys: Vec<BTreeMap<String, usize>> = page
        .runs
        .iter()
        .map(|run| run.series.iter().enumerate().map(|(i, s)| (s.key(), i)).collect())
        .collect();
    let of_line = |key: &str| keys.iter().map(|keys| keys.get(key).copied()).collect();
    page.charts
        .iter()
        .map(|chart| chart.lines.iter().map(|line| of_line(&line.series)).collect())
        .collect()
}

struct EncodedRun<'a> {
    meta: RunMeta<'a>,
    samples: usize,
    series: String,
    requests: String,
    histograms: String,
}

impl<'a> EncodedRun<'a> {
    fn of(run: &'a Run, requests: &Requests, sampled: bool, thinned: bool) -> Self {
        let clock = Clock {
            origin_ns: run.origin_ns,
        };
        let mut series_block = Block::default();
        let (axes, placed) = axes(&run.series);
        let windows: Vec<_> = axes
            .iter()
            .map(|times| thinned.then(|| thin::windows(times, run.span.start_ns, run.span.end_ns)))
            .collect();
        let axes = axes
            .iter()
            .zip(&windows)
            .map(|(times, windows)| {
                let kept = windows.as_ref().map(|windows| thin::times(times, windows));
                AxisMeta {
                    at: series_block.times(&clock, kept.as_deref().unwrap_or(times)),
                    thinned: kept.is_some_and(|kept| kept.len() < times.len()),
                }
            })
            .collect();
        let mut samples = 0;
        let series = run
            .series
            .iter()
            .zip(placed)
            .map(|(series, (axis, cells))| {
                let cells = windows[axis]
                    .as_ref()
                    .map_or(cells.clone(), |w| thin::values(&cells, w));
                samples += cells.iter().flatten().count();
                SeriesMeta {
                    name: &series.name,
                    labels: &series.labels,
                    unit: &series.unit,
                    source: &series.source,
                    kind: series.kind,
                    description: &series.description,
                    axis,
                    at: series_block.floats(&cells),
                    gaps: series.gaps.iter().map(|&gap| clock.span(gap)).collect(),
                }
            })
            .collect();

        let mut request_block = Block::default();
        let request_columns = request_columns(&mut request_block, requests);
        let steps = steps(&mut request_block, &clock, run, thinned);
        let batches = batches(&mut request_block, &clock, &run.batches);

        let mut histogram_block = Block::default();
        let histograms = run
            .histograms
            .iter()
            .map(|h| histogram(&mut histogram_block, &clock, h, run.span, thinned))
            .collect();

        let meta = RunMeta {
            name: &run.name,
            simulated: run.simulated,
            origin_ns: run.origin_ns.to_string(),
            start: clock.ms(run.span.start_ns),
            end: clock.ms(run.span.end_ns),
            steady: run.steady.window.map(|w| clock.span(w)),
            phases: run.phases.iter().map(|p| clock.named(&p.name, p.span)).collect(),
            gaps: run.gaps.iter().map(|g| clock.named(&g.source, g.span)).collect(),
            events: run
                .events
                .iter()
                .map(|e| (clock.ms(e.at_ns), e.severity as u8))
                .collect(),
            rules: run.diagnosis.iter().flat_map(view::findings::rules).collect(),
            bound: run
                .diagnosis
                .iter()
                .flat_map(|d| &d.spans)
                .map(|s| (clock.ms(s.start_ns), clock.ms(s.end_ns), s.rule))
                .collect(),
            axes,
            series,
            histograms,
            requests: request_columns,
            request_count: requests.rows.len(),
            request_exponent: requests.exponent,
            request_sample: sampled,
            servers: &run.servers,
            steps,
            batches,
        };
        Self {
            meta,
            samples,
            series: pack(&series_block.0),
            requests: pack(&request_block.0),
            histograms: pack(&histogram_block.0),
        }
    }

    fn base64_bytes(&self) -> usize {
        self.series.len() + self.requests.len() + self.histograms.len()
    }
}

fn histogram<'a>(
    block: &mut Block,
    clock: &Clock,
    h: &'a Histogram,
    span: Span,
    thinned: bool,
) -> HistogramMeta<'a> {
    let merged = thinned.then(|| thin::columns(&h.columns, span.start_ns, span.end_ns));
    let columns = merged.as_ref().unwrap_or(&h.columns);
    HistogramMeta {
        id: &h.id,
        name: &h.name,
        title: &h.title,
        labels: &h.labels,
        unit: &h.unit,
        source: &h.source,
        description: &h.description,
        bounds: &h.bounds,
        starts: block.integers(3, columns.iter().map(|c| Some(clock.us(c.start_ns)))),
        ends: block.integers(3, columns.iter().map(|c| Some(clock.us(c.end_ns)))),
        counts: (0..=h.bounds.len())
            .map(|b| block.integers(0, columns.iter().map(|c| i64::try_from(c.counts[b]).ok())))
            .collect(),
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
