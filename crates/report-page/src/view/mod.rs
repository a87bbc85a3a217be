//! The input as text that templates put in place. Nothing here is HTML: templates escape all of it.

mod charts;
mod compare;
pub(crate) mod findings;
mod windows;

use serde::Serialize;

use crate::format;
use crate::model::{self, Completeness, Quantity, Severity, TableKind, Validity};
use crate::requests::Requests;

/// Events that are listed; more would make the page slow without telling more.
const MOST_EVENTS: usize = 1_000;

/// A whole page.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    pub title: String,
    pub facts: Vec<String>,
    pub generator: String,
    pub simulated: bool,
    pub live: bool,
    /// Whether several runs are shown.
    pub several: bool,
    pub runs: Vec<Run>,
    pub headline: Headline,
    pub budgets: findings::Budgets,
    pub windows: windows::Windows,
    pub comparison: Option<compare::Comparison>,
    pub sections: Vec<charts::Section>,
    pub histograms: Vec<charts::Histogram>,
    pub has_requests: bool,
    pub has_steps: bool,
    pub has_batches: bool,
    pub has_settings: bool,
    pub series_count: usize,
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub name: String,
    pub label: String,
    pub simulated: bool,
    /// `valid`, `not-valid`, `not-judged` or `pending`.
    pub state: &'static str,
    pub word: &'static str,
    pub reasons: Vec<model::Reason>,
    /// `None`: complete.
    pub interrupted: Option<String>,
    pub running: bool,
    pub started: String,
    pub duration: String,
    pub steady: String,
    pub phases: Vec<(String, String, String)>,
    pub gaps: Vec<[String; 4]>,
    pub diagnosis: Option<findings::Diagnosis>,
    pub events: Vec<Event>,
    pub events_left_out: usize,
    pub absent: Vec<(String, String)>,
    pub configuration: Vec<Table>,
    pub environment: Vec<Table>,
    /// The picture as a data URL: an image runs no scripts, whatever its text holds.
    pub overview: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Event {
    pub ms: f64,
    pub clock: String,
    pub utc: String,
    pub severity: &'static str,
    pub kind: String,
    pub source: String,
    pub message: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub title: String,
    pub rows: Vec<(String, String)>,
}

/// A value ready for display.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    /// The number, or a dash.
    pub text: String,
    pub unit: String,
    pub estimate: bool,
    /// Why there is no number.
    pub reason: Option<String>,
}

impl Cell {
    fn of(quantity: &Quantity, unit: &str) -> Self {
        match quantity {
            Quantity::Absent { reason } => Self {
                text: "—".into(),
                unit: String::new(),
                estimate: false,
                reason: Some(reason.clone()),
            },
            Quantity::Measured { value } | Quantity::Estimate { value } => {
                let (text, unit) = format::with_unit(*value, unit);
                Self {
                    text,
                    unit,
                    estimate: matches!(quantity, Quantity::Estimate { .. }),
                    reason: None,
                }
            }
        }
    }

    fn missing(reason: &str) -> Self {
        Self::of(&Quantity::absent(reason), "")
    }
}

/// The most important numbers: one row per name, one cell per run.
#[derive(Debug, Serialize)]
pub(crate) struct Headline {
    pub figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub name: String,
    pub definition: String,
    pub source: String,
    pub cells: Vec<Cell>,
    /// Of the first run: `± 0.4 s` or a range.
    pub interval: String,
    pub limit: String,
    /// `ok`, `missed` or nothing.
    pub limit_state: &'static str,
}

impl Page {
    pub(crate) fn of(page: &model::Page, requests: &[Requests]) -> Self {
        Self {
            title: page.title.clone(),
            facts: page.facts.clone(),
            generator: page.generator.clone(),
            simulated: page.runs.iter().any(|run| run.simulated),
            live: page.live.is_some(),
            several: page.runs.len() > 1,
            runs: page.runs.iter().map(Run::of).collect(),
            headline: Headline::of(&page.runs),
            budgets: findings::Budgets::of(&page.runs),
            windows: windows::Windows::of(&page.runs, requests),
            comparison: page
                .comparison
                .as_ref()
                .map(|c| compare::Comparison::of(c, &page.runs)),
            sections: charts::sections(page),
            histograms: charts::histograms(&page.runs),
            has_requests: page.runs.iter().any(|run| !run.requests.is_empty()) || page.live.is_some(),
            has_steps: page.runs.iter().any(|run| !run.steps.is_empty()),
            has_settings: page
                .runs
                .iter()
                .any(|run| !run.tables.is_empty() || !run.absent.is_empty()),
            has_batches: page.runs.iter().any(|run| !run.batches.is_empty()),
            series_count: page.runs.iter().map(|run| run.series.len()).sum(),
        }
    }

    /// Only the part above the charts, without series and requests.
    pub(crate) fn head(page: &model::Page) -> Self {
        let bare = |run: &model::Run| model::Run {
            series: Vec::new(),
            histograms: Vec::new(),
            requests: Vec::new(),
            steps: Vec::new(),
            batches: Vec::new(),
            ..run.clone()
        };
        let page = model::Page {
            runs: page.runs.iter().map(bare).collect(),
            ..page.clone()
        };
        let requests: Vec<Requests> = page.runs.iter().map(Requests::of).collect();
        Self::of(&page, &requests)
    }
}

impl Run {
    pub(crate) fn of(run: &model::Run) -> Self {
        let ms = |ns: i64| (ns - run.origin_ns) as f64 / 1e6;
        let seconds = (run.span.end_ns - run.span.start_ns) as f64 / 1e9;
        let clock = |ns: i64| format::clock(ms(ns));
        let (state, word) = match run.verdict.validity {
            Validity::Valid => ("valid", "VALID"),
            Validity::NotValid => ("not-valid", "INVALID"),
            Validity::Aborted => ("not-valid", "ABORTED"),
            Validity::NotJudged => ("not-judged", "RECORDED"),
            Validity::Pending => ("pending", "RUNNING"),
        };
        let tables = |kind: TableKind| {
            let of_kind = run.tables.iter().filter(|t| t.kind == kind);
            of_kind
                .map(|t| Table {
                    title: t.title.clone(),
                    rows: t.rows.clone(),
                })
                .collect()
        };
        Self {
            name: run.name.clone(),
            label: run.label.clone(),
            simulated: run.simulated,
            state,
            word,
            reasons: run.verdict.reasons.clone(),
            interrupted: match &run.completeness {
                Completeness::Interrupted { reason } => Some(reason.clone()),
                Completeness::Complete | Completeness::Running => None,
            },
            running: run.completeness == Completeness::Running,
            started: format::utc(run.span.start_ns),
            duration: format::duration(seconds),
            steady: run.steady.window.map_or_else(
                || run.steady.text.clone(),
                |w| {
                    format!(
                        "{} from {} to {}",
                        run.steady.text,
                        clock(w.start_ns),
                        clock(w.end_ns)
                    )
                },
            ),
            phases: run
                .phases
                .iter()
                .map(|p| (p.name.clone(), clock(p.span.start_ns), clock(p.span.end_ns)))
                .collect(),
            gaps: run
                .gaps
                .iter()
                .map(|g| {
                    [
                        g.source.clone(),
                        clock(g.span.start_ns),
                        clock(g.span.end_ns),
                        g.reason.clone(),
                    ]
                })
                .collect(),
            diagnosis: run.diagnosis.as_ref().map(findings::Diagnosis::of),
            events: run
                .events
                .iter()
                .take(MOST_EVENTS)
                .map(|e| Event::of(e, &ms))
                .collect(),
            events_left_out: run.events.len().saturating_sub(MOST_EVENTS),
            absent: run
                .absent
                .iter()
                .map(|a| (a.what.clone(), a.reason.clone()))
                .collect(),
            configuration: tables(TableKind::Configuration),
            environment: tables(TableKind::Environment),
            overview: run.overview_svg.as_ref().map(|svg| {
                use base64::Engine as _;
                let text = base64::engine::general_purpose::STANDARD.encode(svg);
                format!("data:image/svg+xml;base64,{text}")
            }),
        }
    }
}

impl Event {
    fn of(event: &model::Event, ms: &dyn Fn(i64) -> f64) -> Self {
        Self {
            ms: ms(event.at_ns),
            clock: format::clock(ms(event.at_ns)),
            utc: format::utc(event.at_ns),
            severity: match event.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            kind: event.kind.clone(),
            source: event.source.clone(),
            message: match event.end_ns {
                Some(end) => {
                    let seconds = (end - event.at_ns) as f64 / 1e9;
                    format!("{} (for {})", event.message, format::duration(seconds))
                }
                None => event.message.clone(),
            },
        }
    }
}

impl Headline {
    pub(crate) fn of(runs: &[model::Run]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for figure in runs.iter().flat_map(|run| &run.headline) {
            if !names.contains(&&*figure.name) {
                names.push(&figure.name);
            }
        }
        let figures = names.into_iter().map(|name| {
            let of_run: Vec<_> = runs
                .iter()
                .map(|run| run.headline.iter().find(|f| f.name == name))
                .collect();
            let first = of_run
                .iter()
                .flatten()
                .next()
                .expect("the name came from a figure");
            Figure::of(first, &of_run)
        });
        Self {
            figures: figures.collect(),
        }
    }
}

impl Figure {
    fn of(first: &model::Figure, of_run: &[Option<&model::Figure>]) -> Self {
        let text = |value: f64| {
            let (text, unit) = format::with_unit(value, &first.unit);
            format!("{text} {unit}")
        };
        let (limit, limit_state) = match (&first.limit, first.quantity.value()) {
            (None, _) => (String::new(), ""),
            (Some(limit), value) => (
                format!("limit {} {}", limit.relation.sign(), text(limit.value)),
                match value.map(|value| limit.relation.holds(value, limit.value)) {
                    Some(true) => "ok",
                    Some(false) => "missed",
                    None => "",
                },
            ),
        };
        Self {
            name: first.name.clone(),
            definition: first.definition.clone(),
            source: first.source.clone(),
            cells: of_run
                .iter()
                .map(|f| match f {
                    Some(figure) => Cell::of(&figure.quantity, &figure.unit),
                    None => Cell::missing("not in this run"),
                })
                .collect(),
            interval: match (first.interval, first.quantity.value()) {
                (Some((low, high)), Some(_)) => format!("{} to {}", text(low), text(high)),
                _ => String::new(),
            },
            limit,
            limit_state,
        }
    }
}
