//! Everything that the scripts of a page need, as blocks of text.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{column, pack, thin};
use crate::model::{Batch, Chart, Histogram, Kind, Outcome, Page, Run, Series, Span, Step, TimeSource};
use crate::requests::{Metric, Requests};
use crate::{Options, Result, view};

/// A series joins a longer one's axis if it fills that axis in at most so many stretches.
const MOST_PIECES: usize = 8;

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
    let mut payload =
        Payload { blocks: Vec::new(), remarks: Vec::new(), samples: 0, series_bytes: 0, request_bytes: 0 };
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
        for (name, text) in
            [("series", encoded.series), ("requests", encoded.requests), ("histograms", encoded.histograms)]
        {
            payload.blocks.push((format!("data-{name}-{index}"), text));
        }
    }
    let meta = Meta {
        charts: &page.charts,
        chart_series: chart_series(page),
        metrics: Metric::ALL
            .iter()
            .map(|m| MetricMeta { id: m.id(), title: m.title(), definition: m.definition() })
            .collect(),
        quantiles: crate::numbers::QUANTILES,
        events_url: page.live.as_ref().map(|live| &*live.events_url),
        runs,
    };
    payload.blocks.insert(0, ("data-meta".to_owned(), pack(&serde_json::to_vec(&meta)?)));
    Ok(payload)
}

fn remarks(run: &Run, total: usize, kept: &Requests, sampled: bool, thinned: bool, remarks: &mut Vec<String>) {
    let record = run.record_file.as_deref().map_or_else(
        || "the recording has all".to_owned(),
        |file| format!("all are in {file}"),
    );
    let number = |n: usize| crate::format::number(n as f64);
    if sampled {
        remarks.push(format!(
            "Run {}: {} of {} requests are in this page: every one that failed, every one beyond p99.9, and a sample \
             of the rest. Numbers of the whole run and of the steady window are from all; numbers of a selection are \
             estimates. {record}.",
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
    let keys: Vec<BTreeMap<String, usize>> =
        page.runs.iter().map(|run| run.series.iter().enumerate().map(|(i, s)| (s.key(), i)).collect()).collect();
    let of_line = |key: &str| keys.iter().map(|keys| keys.get(key).copied()).collect();
    page.charts.iter().map(|chart| chart.lines.iter().map(|line| of_line(&line.series)).collect()).collect()
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
        let clock = Clock { origin_ns: run.origin_ns };
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
                let cells = windows[axis].as_ref().map_or(cells.clone(), |w| thin::values(&cells, w));
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
        let histograms =
            run.histograms.iter().map(|h| histogram(&mut histogram_block, &clock, h, run.span, thinned)).collect();

        let meta = RunMeta {
            name: &run.name,
            simulated: run.simulated,
            origin_ns: run.origin_ns.to_string(),
            start: clock.ms(run.span.start_ns),
            end: clock.ms(run.span.end_ns),
            steady: run.steady.window.map(|w| clock.span(w)),
            phases: run.phases.iter().map(|p| clock.named(&p.name, p.span)).collect(),
            gaps: run.gaps.iter().map(|g| clock.named(&g.source, g.span)).collect(),
            events: run.events.iter().map(|e| (clock.ms(e.at_ns), e.severity as u8)).collect(),
            rules: run
                .diagnosis
                .iter()
                .flat_map(|d| d.rules.iter().map(|r| &*r.name).zip(view::findings::rule_colors(d)))
                .collect(),
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

/// Times as milliseconds from the origin, rounded to a microsecond.
struct Clock {
    origin_ns: i64,
}

impl Clock {
    fn us(&self, ns: i64) -> i64 {
        (ns - self.origin_ns + 500).div_euclid(1_000)
    }

    fn ms(&self, ns: i64) -> f64 {
        self.us(ns) as f64 / 1e3
    }

    fn span(&self, span: Span) -> (f64, f64) {
        (self.ms(span.start_ns), self.ms(span.end_ns))
    }

    fn named<'a>(&self, name: &'a str, span: Span) -> (&'a str, f64, f64) {
        (name, self.ms(span.start_ns), self.ms(span.end_ns))
    }
}

/// Columns one after the other; each method returns where its column begins.
#[derive(Default)]
struct Block(Vec<u8>);

impl Block {
    fn floats(&mut self, cells: &[Option<f64>]) -> usize {
        let at = self.0.len();
        column::floats(&mut self.0, cells);
        at
    }

    fn integers(&mut self, exponent: u8, cells: impl Iterator<Item = Option<i64>> + Clone) -> usize {
        let at = self.0.len();
        column::integers(&mut self.0, exponent, cells);
        at
    }

    fn times(&mut self, clock: &Clock, times_ns: &[i64]) -> usize {
        self.integers(3, times_ns.iter().map(|&ns| Some(clock.us(ns))))
    }
}

/// The time axes of all series, and for each series its axis and its values on it.
fn axes(series: &[Series]) -> (Vec<&[i64]>, Vec<(usize, Vec<Option<f64>>)>) {
    let mut axes: Vec<&[i64]> = Vec::new();
    let mut placed = vec![(0, Vec::new()); series.len()];
    let mut longest_first: Vec<usize> = (0..series.len()).collect();
    longest_first.sort_by_key(|&i| std::cmp::Reverse(series[i].timestamps_ns.len()));
    for i in longest_first {
        let one = &series[i];
        let found = axes.iter().enumerate().find_map(|(axis, times)| Some((axis, on_axis(one, times)?)));
        placed[i] = found.unwrap_or_else(|| {
            axes.push(&one.timestamps_ns);
            (axes.len() - 1, one.values.iter().copied().map(Some).collect())
        });
    }
    (axes, placed)
}

/// The values of a series on an axis that holds all of its times, in few stretches.
fn on_axis(series: &Series, axis: &[i64]) -> Option<Vec<Option<f64>>> {
    let times = &series.timestamps_ns;
    let Some(first) = times.first() else { return Some(vec![None; axis.len()]) };
    let mut at = axis.binary_search(first).ok()?;
    let mut cells = vec![None; axis.len()];
    let mut pieces = 1;
    for (time, value) in times.iter().zip(&series.values) {
        if axis.get(at) != Some(time) {
            at += axis.get(at..)?.binary_search(time).ok()?;
            pieces += 1;
            if pieces > MOST_PIECES {
                return None;
            }
        }
        cells[at] = Some(*value);
        at += 1;
    }
    Some(cells)
}

fn request_columns(block: &mut Block, requests: &Requests) -> BTreeMap<&'static str, usize> {
    let rows = || requests.rows.iter();
    let e = requests.exponent;
    let whole = |n: Option<u32>| n.map(i64::from);
    BTreeMap::from([
        ("issued", block.integers(e, rows().map(|r| Some(r.issued)))),
        // Differences within a request are small; the script adds them up again.
        ("lag", block.integers(e, rows().map(|r| Some(r.issued - r.scheduled?)))),
        ("wait", block.integers(e, rows().map(|r| Some(r.sent? - r.issued)))),
        ("ttft", block.integers(e, rows().map(|r| Some(r.first? - r.sent.unwrap_or(r.issued))))),
        ("rest", block.integers(e, rows().map(|r| Some(r.done? - r.first.or(r.sent).unwrap_or(r.issued))))),
        ("prompt", block.integers(0, rows().map(|r| whole(r.prompt_tokens)))),
        ("output", block.integers(0, rows().map(|r| whole(r.output_tokens)))),
        ("queue", block.integers(e, rows().map(|r| r.queue))),
        // The server's times nearly add up to the client's: what is left over is smaller.
        ("prefill", block.integers(e, rows().map(|r| left_over(r.first.zip(r.sent).zip(r.queue), r.prefill)))),
        ("decode", block.integers(e, rows().map(|r| left_over(r.done.zip(r.first).zip(Some(0)), r.decode)))),
        (
            "source",
            block.integers(
                0,
                rows().map(|r| {
                    r.time_source.map(|s| match s {
                        TimeSource::Measured => 0,
                        TimeSource::Estimate => 1,
                    })
                }),
            ),
        ),
        (
            "outcome",
            block.integers(
                0,
                rows().map(|r| {
                    Some(match r.outcome {
                        Outcome::Completed => 0,
                        Outcome::Failed => 1,
                        Outcome::Cancelled => 2,
                        Outcome::Open => 3,
                    })
                }),
            ),
        ),
        ("server", block.integers(0, rows().map(|r| Some(i64::from(r.server))))),
        ("weight", block.floats(&rows().map(|r| Some(r.weight)).collect::<Vec<_>>())),
    ])
}

/// Later − earlier − part − time if all are known, else the time itself.
fn left_over(known: Option<((i64, i64), i64)>, time: Option<i64>) -> Option<i64> {
    match known {
        Some(((later, earlier), part)) => Some(later - earlier - part - time?),
        None => time,
    }
}

fn steps(block: &mut Block, clock: &Clock, run: &Run, thinned: bool) -> BTreeMap<&'static str, usize> {
    let tokens = |s: &Step| s.prompt_tokens + s.output_tokens;
    let mut steps: Vec<&Step> = run.steps.iter().collect();
    if thinned {
        // The step with the fewest and the one with the most tokens of each window.
        let times: Vec<i64> = run.steps.iter().map(|s| s.end_ns).collect();
        steps = thin::windows(&times, run.span.start_ns, run.span.end_ns)
            .into_iter()
            .flat_map(|window| {
                let part = &run.steps[window];
                let (min, max) = (part.iter().min_by_key(|s| tokens(s)), part.iter().max_by_key(|s| tokens(s)));
                min.into_iter().chain(max.filter(|max| min != Some(max)))
            })
            .collect();
        steps.sort_by_key(|s| s.end_ns);
    }
    if steps.is_empty() {
        return BTreeMap::new();
    }
    let rows = || steps.iter();
    BTreeMap::from([
        ("end", block.integers(3, rows().map(|s| Some(clock.us(s.end_ns))))),
        ("duration", block.integers(3, rows().map(|s| Some((s.duration_ns? + 500).div_euclid(1_000))))),
        ("prompt", block.integers(0, rows().map(|s| Some(i64::from(s.prompt_tokens))))),
        ("output", block.integers(0, rows().map(|s| Some(i64::from(s.output_tokens))))),
        ("requests", block.integers(0, rows().map(|s| s.requests.map(i64::from)))),
    ])
}

fn batches(block: &mut Block, clock: &Clock, batches: &[Batch]) -> BTreeMap<&'static str, usize> {
    if batches.is_empty() {
        return BTreeMap::new();
    }
    let rows = || batches.iter();
    BTreeMap::from([
        ("issued", block.integers(3, rows().map(|b| Some(clock.us(b.issued_ns))))),
        ("done", block.integers(3, rows().map(|b| Some(clock.us(b.done_ns?))))),
        ("requests", block.integers(0, rows().map(|b| Some(i64::from(b.requests))))),
        ("failed", block.integers(0, rows().map(|b| Some(i64::from(b.failed))))),
    ])
}

fn histogram<'a>(block: &mut Block, clock: &Clock, h: &'a Histogram, span: Span, thinned: bool) -> HistogramMeta<'a> {
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
