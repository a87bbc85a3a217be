//! Everything that one picture shows.

use run_analysis::view::{EndpointFigures, Figures, LiveTotals, LiveView};
use run_model::EventRow;

use crate::{History, Status, format};

/// Events that a picture may show.
const MOST_EVENTS: usize = 40;

/// A run at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// What records do not contain.
    pub status: Status,
    /// The figures of the window.
    pub figures: Figures,
    /// What the window is, for example `last 10 s`.
    pub window: String,
    /// Each server, if there are several.
    pub endpoints: Vec<EndpointFigures>,
    /// Counts since the view began.
    pub totals: LiveTotals,
    /// The newest events, newest first.
    pub events: Vec<EventRow>,
    /// Start of the run, from which times of events count; `None` before the first record.
    pub started_ns: Option<i64>,
    /// Time of the newest record.
    pub newest_ns: Option<i64>,
    /// The phase of the run.
    pub phase: String,
    /// Figures over time.
    pub history: History,
}

impl Snapshot {
    /// The view's last `window_ns`, or all of it.
    pub fn of(view: &LiveView, history: &History, status: Status, window_ns: Option<i64>) -> Self {
        let newest_ns = view.newest_ns();
        let whole = || view.analysis().span_ns();
        let started_ns = match view.data().manifest.started_ns {
            0 => whole().map(|(from, _)| from),
            started_ns => Some(started_ns),
        };
        let (figures, endpoints) = match newest_ns {
            None => (Figures::default(), Vec::new()),
            Some(to_ns) => {
                let from_ns = match window_ns {
                    Some(window_ns) => to_ns.saturating_sub(window_ns),
                    None => whole().map_or(to_ns, |(from, _)| from),
                };
                let endpoints = view.endpoints_between(from_ns, to_ns);
                (view.figures_between(from_ns, to_ns), endpoints)
            }
        };
        Self {
            window: match window_ns {
                Some(window_ns) => format!("last {} s", window_ns / 1_000_000_000),
                None => format!("whole record, {}", format::clock(figures.seconds())),
            },
            figures,
            endpoints: if endpoints.len() > 1 {
                endpoints
            } else {
                Vec::new()
            },
            totals: view.totals(),
            events: view
                .data()
                .events
                .iter()
                .rev()
                .take(MOST_EVENTS)
                .cloned()
                .collect(),
            started_ns,
            newest_ns,
            phase: view.phase().to_owned(),
            history: history.clone(),
            status,
        }
    }

    /// The picture as one line, for output that is not a terminal.
    ///
    /// ```
    /// use run_terminal::Snapshot;
    ///
    /// assert!(Snapshot::default().line().contains("TTFT p99 -"));
    /// ```
    pub fn line(&self) -> String {
        let (engine, client) = (&self.figures.engine, &self.figures.client);
        let p99 = |of: fn(&run_analysis::view::Latencies) -> Option<run_analysis::view::LatencyFigures>| {
            format::time(
                of(&client.latencies)
                    .or(of(&self.figures.server))
                    .map(|times| times.p99),
            )
        };
        let tokens = engine
            .generation_tokens_per_second
            .or(client.output_tokens_per_second);
        let since = self
            .newest_ns
            .zip(self.started_ns)
            .map(|(to, from)| (to - from) as f64 / 1e9);
        let simulated = self.status.simulated || self.figures.simulated;
        format!(
            "{}{}, {}: {} tokens/s, {} running, {} waiting, KV cache {}, TTFT p99 {}, TPOT p99 {}, {} completed, {} failed, \
             {} warnings, {} errors",
            if simulated { "SIMULATED " } else { "" },
            since.map_or_else(|| format::ABSENT.to_owned(), format::clock),
            self.window,
            format::number(tokens),
            format::whole(engine.running),
            format::whole(engine.waiting),
            format::percent(engine.kv_cache_usage_ratio),
            p99(|times| times.ttft),
            p99(|times| times.tpot),
            self.totals.completed,
            self.totals.failed,
            self.totals.warnings,
            self.totals.errors,
        )
    }
}
