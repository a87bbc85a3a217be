//! Where the window begins and ends before any test: start-up and drain are cut off.

use run_statistics::{mser5, percentile};
use serde::Serialize;

use super::signals::Points;
use crate::input::{Run, Span};

/// The load counts as held while this share of its usual level runs.
const HELD_LOAD: f64 = 0.9;

/// One end of the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// Nanoseconds on the run's clock.
    pub at_ns: i64,
    /// Why there.
    pub because: String,
}

/// Where the drain begins.
///
/// With a schedule: the last whole second before the last issued query. Otherwise the last second in which the server
/// ran at least 0.9 of the median number of requests of the middle half of the run; without that gauge, as with a
/// schedule. A window consists of whole seconds, so that its figures are those of the seconds in it.
pub(super) fn end(run: &Run, whole: Span) -> Edge {
    let last_issue_ns = run
        .requests
        .iter()
        .map(|request| request.issued_ns)
        .max()
        .unwrap_or(whole.to_ns);
    let issued = |because: &str| Edge {
        at_ns: run.seconds.begins_ns(
            run.seconds
                .inside(Span {
                    to_ns: last_issue_ns,
                    ..whole
                })
                .end,
        ),
        because: because.to_owned(),
    };
    if run.facts.scenario.is_scheduled() {
        return issued("the last query was issued");
    }
    let running = &run.seconds.running;
    let seconds = run.seconds.inside(whole);
    let quarter = seconds.len() / 4;
    let middle: Vec<f64> = running
        .values(seconds.start + quarter..seconds.end - quarter)
        .collect();
    let Some(usual) = percentile::median(&middle) else {
        let because = running
            .absent_because()
            .unwrap_or("absent in the middle of the run");
        return issued(&format!(
            "the last query was issued; running requests are not known ({because})"
        ));
    };
    let held = |second: &usize| {
        running
            .at(*second)
            .is_some_and(|value| value >= HELD_LOAD * usual)
    };
    match seconds.rev().find(held) {
        Some(second) => Edge {
            at_ns: run.seconds.begins_ns(second + 1).min(whole.to_ns),
            because: format!("afterwards fewer than 0.9 of the usual {usual:.0} requests were running"),
        },
        None => issued("the last query was issued"),
    }
}

/// Where the start-up ends: the later of what MSER-5 cuts from each signal.
pub(super) fn start(run: &Run, whole: Span, points: &[Points]) -> Edge {
    let cuts = points.iter().filter_map(|points| {
        let cut = mser5(&points.values)?;
        let second = *points.seconds.get(cut)?;
        (cut > 0).then(|| Edge {
            at_ns: run.seconds.begins_ns(second).max(whole.from_ns),
            because: format!("before, {} had not settled (MSER-5)", points.signal.name()),
        })
    });
    cuts.max_by_key(|edge| edge.at_ns).unwrap_or_else(|| Edge {
        at_ns: whole.from_ns,
        because: "the first query was issued; no start-up had to be cut".to_owned(),
    })
}
