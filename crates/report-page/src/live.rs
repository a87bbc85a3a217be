//! What a served page receives while the run goes on.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{HistogramColumn, Outcome, Page, Request, Span, TimeSource};
use crate::{Result, assets, view};

/// New points of one series, and points that have changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// Index in the run's series, as they were when the page was rendered.
    pub series: usize,
    /// The points that the page has from this time on are replaced, Unix nanoseconds.
    pub from_ns: i64,
    /// Not before that, ascending.
    pub timestamps_ns: Vec<i64>,
    /// One value per timestamp; what is not finite arrives as absent.
    pub values: Vec<f64>,
}

/// New intervals of one histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedColumns {
    /// Index in the run's histograms, as they were when the page was rendered.
    pub histogram: usize,
    /// Later than all before; as many counts as the histogram had then.
    pub columns: Vec<HistogramColumn>,
}

/// What changed since the page was rendered, or since the update before.
///
/// Send [`Update::to_json`] as a server-sent event of the type `update`, with the tick as its identifier. At the end
/// send an event `report` with the URL of the finished report. An event `reload` makes the browser load the page again,
/// for what an update cannot describe, such as a new series.
///
/// ```
/// use report_page::{Appended, Update, model::{Page, Run}};
///
/// let page = Page { runs: vec![Run::default()], ..Page::default() };
/// let from_ns = 1_000_000_000;
/// let appended = Appended { series: 0, from_ns, timestamps_ns: vec![from_ns], values: vec![17.0] };
/// let update = Update { end_ns: 1_000_000_000, appended: vec![appended], ..Update::default() };
/// assert!(update.to_json(&page)?.contains("[1000.0]"));
/// # Ok::<(), report_page::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Time up to which the record goes now.
    pub end_ns: i64,
    /// New and changed points.
    pub appended: Vec<Appended>,
    /// New intervals of histograms.
    pub histograms: Vec<AppendedColumns>,
    /// Requests that ended since.
    pub requests: Vec<Request>,
    /// All gaps of every series whose gaps have changed, by its index in the run's series when the page was rendered.
    pub series_gaps: Vec<(usize, Vec<Span>)>,
}

#[derive(Serialize)]
struct Json<'a> {
    end: f64,
    series: Vec<SeriesJson<'a>>,
    histograms: Vec<(usize, Vec<ColumnJson<'a>>)>,
    requests: Vec<RequestJson>,
    rules: Vec<(&'a str, usize)>,
    bound: Vec<(f64, f64, usize)>,
    steady: Option<(f64, f64)>,
    phases: Vec<(&'a str, f64, f64)>,
    gaps: Vec<(&'a str, f64, f64)>,
    series_gaps: Vec<(usize, Vec<(f64, f64)>)>,
    fragments: BTreeMap<&'static str, String>,
}

/// Index, from when on, times and values.
type SeriesJson<'a> = (usize, f64, Vec<f64>, &'a [f64]);

/// Begin, end and counts of an interval.
type ColumnJson<'a> = (f64, f64, &'a [u64]);

#[derive(Serialize)]
struct RequestJson {
    scheduled: Option<f64>,
    issued: f64,
    sent: Option<f64>,
    first: Option<f64>,
    done: Option<f64>,
    prompt: Option<u32>,
    output: Option<u32>,
    queue: Option<f64>,
    prefill: Option<f64>,
    decode: Option<f64>,
    estimate: bool,
    outcome: u8,
    server: u32,
}

impl Update {
    /// The event's data. Verdict, headline, diagnosis, budgets, phases, gaps, events and tables come from the page, whose
    /// first run is the one that goes on; series and requests of the page are not looked at.
    ///
    /// # Errors
    /// Only by a defect of this library.
    pub fn to_json(&self, page: &Page) -> Result<String> {
        let diagnosis = || {
            page.runs
                .first()
                .and_then(|run| run.diagnosis.as_ref())
                .into_iter()
        };
        let origin_ns = page.runs.first().map_or(0, |run| run.origin_ns);
        let at = |ns: i64| (ns - origin_ns) as f64 / 1e6;
        let long = |ns: i64| ns as f64 / 1e6;
        let span = |span: &Span| (at(span.start_ns), at(span.end_ns));
        let named = |name, span: &Span| (name, at(span.start_ns), at(span.end_ns));
        let run = page.runs.first();
        let json = Json {
            end: at(self.end_ns),
            series: self
                .appended
                .iter()
                .map(|a| {
                    (
                        a.series,
                        at(a.from_ns),
                        a.timestamps_ns.iter().map(|&ns| at(ns)).collect(),
                        &*a.values,
                    )
                })
                .collect(),
            histograms: self
                .histograms
                .iter()
                .map(|grown| {
                    let columns = grown.columns.iter();
                    let columns = columns.map(|c| (at(c.start_ns), at(c.end_ns), &*c.counts));
                    (grown.histogram, columns.collect())
                })
                .collect(),
            requests: self
                .requests
                .iter()
                .map(|r| RequestJson {
                    scheduled: r.scheduled_ns.map(at),
                    issued: at(r.issued_ns),
                    sent: r.sent_ns.map(at),
                    first: r.first_token_ns.map(at),
                    done: r.done_ns.map(at),
                    prompt: r.prompt_tokens,
                    output: r.output_tokens,
                    queue: r.queue_ns.map(long),
                    prefill: r.prefill_ns.map(long),
                    decode: r.decode_ns.map(long),
                    estimate: r.time_source == Some(TimeSource::Estimate),
                    outcome: match r.outcome {
                        Outcome::Completed => 0,
                        Outcome::Failed => 1,
                        Outcome::Cancelled => 2,
                        Outcome::Open => 3,
                    },
                    server: r.server,
                })
                .collect(),
            rules: diagnosis().flat_map(view::findings::rules).collect(),
            bound: diagnosis()
                .flat_map(|d| &d.spans)
                .map(|s| (at(s.start_ns), at(s.end_ns), s.rule))
                .collect(),
            steady: run.and_then(|run| run.steady.window.as_ref()).map(span),
            phases: run
                .iter()
                .flat_map(|run| &run.phases)
                .map(|phase| named(&*phase.name, &phase.span))
                .collect(),
            gaps: run
                .iter()
                .flat_map(|run| &run.gaps)
                .map(|gap| named(&*gap.source, &gap.span))
                .collect(),
            series_gaps: self
                .series_gaps
                .iter()
                .map(|(index, gaps)| (*index, gaps.iter().map(span).collect()))
                .collect(),
            fragments: assets::fragments(&view::Page::head(page))?.into_iter().collect(),
        };
        Ok(serde_json::to_string(&json)?)
    }
}
