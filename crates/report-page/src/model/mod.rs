//! What a page is made of: plain structs that the caller fills.
//!
//! All times are nanoseconds since the Unix epoch, as in a recording. A quantity that is not known is
//! [`Quantity::Absent`] or a `None`, never a zero.

mod chart;
mod comparison;
mod diagnosis;
mod figure;
mod request;
mod run;
mod series;

use serde::{Deserialize, Serialize};

pub use chart::{Band, Chart, ChartKind, Line, Section, Threshold};
pub use comparison::{Comparison, Conclusion, ConfigurationDifference, Difference};
pub use diagnosis::{BoundSpan, Check, Confidence, Diagnosis, Relation, Rule, RuleState};
pub use figure::{Budget, BudgetPart, Figure, Limit, Quantity};
pub use request::{Batch, Outcome, Request, RequestLimit, RequestMetric, Step, TimeSource};
pub use run::{
    Absent, Completeness, Event, Gap, Phase, Reason, Run, Severity, Span, SteadyWindow, Table, TableKind,
    Validity, Verdict,
};
pub use series::{Histogram, HistogramColumn, Kind, Series, series_key};

/// Everything on one page: one run, or several drawn over each other.
///
/// ```
/// use report_page::model::{Page, Run};
///
/// let page = Page { title: "Llama 3.1 8B, Server".into(), runs: vec![Run::default()], ..Page::default() };
/// assert!(report_page::render(&page)?.html.contains("Llama 3.1 8B, Server"));
/// # Ok::<(), report_page::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The headline, for example the model and the scenario.
    pub title: String,
    /// Short facts under the title: server, date, GPU.
    pub facts: Vec<String>,
    /// Program and version that made the page; shown at the bottom.
    pub generator: String,
    /// One run is a report, two or more are a comparison whose first run is the baseline.
    pub runs: Vec<Run>,
    /// The charts over time, in the order of drawing within each [`Section`].
    pub charts: Vec<Chart>,
    /// Limits of latencies, drawn where single requests and their distributions are.
    pub limits: Vec<RequestLimit>,
    /// The result of a statistical comparison. `None` with several runs: they are drawn, but not judged.
    pub comparison: Option<Comparison>,
    /// Set when the page is served while the run goes on.
    pub live: Option<Live>,
}

/// How a page in a browser receives what is recorded after it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Where the server-sent events are, relative to the page, for example `events`.
    ///
    /// Every event of the type `update` holds the JSON of one [`Update`](crate::Update); `report` holds the URL of
    /// the finished report.
    pub events_url: String,
}
