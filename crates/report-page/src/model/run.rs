//! One recorded run.

use serde::{Deserialize, Serialize};

use super::{Batch, Budget, Diagnosis, Figure, Histogram, Request, Series, Step};

/// One run: verdict, numbers, samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Short name in legends; `A`, `B`, … in a comparison.
    pub name: String,
    /// What it is, for example the file name of its record.
    pub label: String,
    /// Whether the server was simulated. Shown in the verdict, the toolbar and on every chart.
    pub simulated: bool,
    /// Whether it is valid.
    pub verdict: Verdict,
    /// Whether it ran to its end.
    pub completeness: Completeness,
    /// Zero of the time axis, Unix nanoseconds. Runs that are compared are laid over each other at this time, so it
    /// should be the start of the measured phase.
    pub origin_ns: i64,
    /// Begin and end of the record.
    pub span: Span,
    /// The window in which the load was steady.
    pub steady: SteadyWindow,
    /// The most important numbers, best first.
    pub headline: Vec<Figure>,
    /// What bound the run.
    pub diagnosis: Option<Diagnosis>,
    /// Latency budgets, usually of the median and of the p99 request.
    pub budgets: Vec<Budget>,
    /// Parts of the run.
    pub phases: Vec<Phase>,
    /// When a source gave no data.
    pub gaps: Vec<Gap>,
    /// What happened.
    pub events: Vec<Event>,
    /// Dispatched batches.
    pub batches: Vec<Batch>,
    /// Samples over time.
    pub series: Vec<Series>,
    /// Histograms over time.
    pub histograms: Vec<Histogram>,
    /// Requests, in any order.
    pub requests: Vec<Request>,
    /// Names of the servers that requests refer to.
    pub servers: Vec<String>,
    /// Engine steps.
    pub steps: Vec<Step>,
    /// What was not recorded, and why.
    pub absent: Vec<Absent>,
    /// Settings and environment.
    pub tables: Vec<Table>,
    /// A static picture for readers without JavaScript: a complete SVG document.
    pub overview_svg: Option<String>,
    /// Name of the file with the complete record; the page refers to it where it holds less.
    pub record_file: Option<String>,
}

/// From and to, Unix nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Begin.
    pub start_ns: i64,
    /// End.
    pub end_ns: i64,
}

/// Whether a run is valid, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The word.
    pub validity: Validity,
    /// Reasons, most important first.
    pub reasons: Vec<Reason>,
}

/// Why a run has its verdict.
///
/// ```
/// use report_page::model::Reason;
///
/// let lines = ["valid, but not an official result:", "- it lasted 20 s", "To fix: --duration 600s"];
/// let reasons = Reason::listed(lines);
/// assert_eq!(reasons[0].details, ["it lasted 20 s"]);
/// assert_eq!(reasons[1], Reason::from("To fix: --duration 600s"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// In words.
    pub text: String,
    /// What it consists of, for a heading such as `not a valid result:`.
    pub details: Vec<String>,
}

impl Reason {
    /// Lines of a console's list: those that begin with `- ` are details of the line before.
    pub fn listed<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut reasons: Vec<Self> = Vec::new();
        for line in lines {
            match (line.trim_start().strip_prefix("- "), reasons.last_mut()) {
                (Some(detail), Some(reason)) => reason.details.push(detail.to_owned()),
                (Some(detail), None) => reasons.push(detail.into()),
                (None, _) => reasons.push(line.into()),
            }
        }
        reasons
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            details: Vec::new(),
        }
    }
}

/// The word of a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// Satisfies every rule.
    Valid,
    /// Breaks a rule.
    NotValid,
    /// Was ended early.
    Aborted,
    /// Nothing judged it, for example a recording without a test.
    #[default]
    NotJudged,
    /// Still running.
    Pending,
}

/// Whether a run ran to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Completeness {
    /// Yes.
    #[default]
    Complete,
    /// It was ended early, or its record breaks off.
    Interrupted {
        /// What ended it.
        reason: String,
    },
    /// It goes on.
    Running,
}

/// The steady window and how it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteadyWindow {
    /// `None`: there is none, see the text.
    pub window: Option<Span>,
    /// For example `steady`, `drifting`, `too short` or `not evaluated: no token counter`.
    pub text: String,
}

/// A named part of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// For example `performance`.
    pub name: String,
    /// When.
    pub span: Span,
}

/// A source without data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Which source.
    pub source: String,
    /// When.
    pub span: Span,
    /// Why, as far as known.
    pub reason: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, Unix nanoseconds.
    pub at_ns: i64,
    /// When it was over, if it lasted.
    pub end_ns: Option<i64>,
    /// How bad.
    pub severity: Severity,
    /// Kind, for example `scrape failed`.
    pub kind: String,
    /// Who saw it.
    pub source: String,
    /// In words.
    pub message: String,
}

/// How bad an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// May explain a number.
    Warning,
    /// Harms the result.
    Error,
}

/// Something that the run does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// What, for example `GPU power`.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// Names and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Headline.
    pub title: String,
    /// Which part of the page.
    pub kind: TableKind,
    /// In the order of display.
    pub rows: Vec<(String, String)>,
}

/// Where a [`Table`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// Settings of the run.
    Configuration,
    /// Machine, driver, versions.
    Environment,
}
