//! The steady window: the part of a run whose figures describe the server and not the start or the end of the load.
//!
//! Known edges come first (issuing ended, the load fell), MSER-5 only for the start, then a test for a level shift
//! and one for a drift. The same rule from both ends would cut a degraded second half and call the rest steady.

mod edges;
mod figures;
mod minimum;
mod sentences;
mod signals;
mod steadiness;

use serde::Serialize;

pub use edges::Edge;
pub use figures::WindowFigure;
pub use minimum::Minimum;
pub use signals::Signal;
pub use steadiness::{Assessment, Steadiness, assess};

use crate::input::{Run, Span};
use signals::Points;

/// A first plateau is used if it is at least this share of the window.
const PLATEAU_SHARE: f64 = 1.0 / 3.0;

/// How long a window must be at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowOptions {
    /// In seconds; latency and correlation may ask for more.
    pub floor_secs: f64,
}

impl WindowOptions {
    /// 600 s, as MLPerf asks of an official run.
    pub const OFFICIAL: Self = Self { floor_secs: 600.0 };
}

impl Default for WindowOptions {
    /// 60 s.
    fn default() -> Self {
        Self { floor_secs: 60.0 }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum WindowState {
    /// No shift or drift of 5 % or more.
    Steady,
    /// The level changed at one time.
    LevelShift {
        /// Series that changed.
        signal: Signal,
        /// When, in nanoseconds on the run's clock.
        at_ns: i64,
        /// Second level over the first, minus 1.
        relative_change: f64,
        /// Before.
        first: Span,
        /// After.
        second: Span,
        /// The first level is long enough to be the window.
        first_is_used: bool,
    },
    /// The level moved all the time: [`SteadyWindow::drifting`] names the series, which have no single number.
    Drifting,
    /// Too little is left between the edges.
    TooShort {
        /// What is left, in seconds.
        secs: f64,
    },
    /// Something that is needed was not recorded.
    NotEvaluated {
        /// What, and why it is missing.
        missing: Vec<String>,
    },
}

/// A series that moves all the time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Drifting {
    /// Which.
    pub signal: Signal,
    /// Change from end to end over the median level.
    pub relative_change: f64,
}

/// A run's steady window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SteadyWindow {
    /// What was found.
    #[serde(flatten)]
    pub state: WindowState,
    /// The whole run; absent without requests.
    pub whole: Option<Span>,
    /// The stretch that single figures may be taken from. Absent for a run that is too short, was not evaluated, or
    /// shifted too early.
    pub span: Option<Span>,
    /// Where the start-up ends.
    pub start: Option<Edge>,
    /// Where the drain begins.
    pub end: Option<Edge>,
    /// How long the window has to be.
    pub minimum: Option<Minimum>,
    /// Series that moved all the time inside the window.
    pub drifting: Vec<Drifting>,
    /// Main figures of the whole run and of the window. LoadGen's own result stays that of the whole run.
    pub figures: Vec<WindowFigure>,
    /// Inputs that were missing although the window could be found without them.
    pub missing: Vec<String>,
}

impl SteadyWindow {
    /// The stretch to take a figure of this series from: none where the series drifts.
    pub fn span_for(&self, signal: Signal) -> Option<Span> {
        let drifts = self.drifting.iter().any(|drift| drift.signal == signal);
        self.span.filter(|_| !drifts)
    }
}

/// Finds the steady window of a run.
pub fn steady_window(run: &Run, options: WindowOptions) -> SteadyWindow {
    let mut found = SteadyWindow {
        state: WindowState::NotEvaluated { missing: Vec::new() },
        whole: run.whole(),
        span: None,
        start: None,
        end: None,
        minimum: None,
        drifting: Vec::new(),
        figures: Vec::new(),
        missing: Vec::new(),
    };
    let Some(whole) = found.whole else {
        found.state = WindowState::NotEvaluated {
            missing: vec!["requests (none was recorded)".to_owned()],
        };
        return found;
    };
    let end = edges::end(run, whole);
    let load = Span {
        from_ns: whole.from_ns,
        to_ns: end.at_ns,
    };
    let mut points = Vec::new();
    for signal in signals::signals(run, load) {
        match signal {
            Ok(signal) => points.push(signal),
            Err(missing) => found.missing.push(missing),
        }
    }
    found.end = Some(end);
    if points.is_empty() {
        found.state = WindowState::NotEvaluated {
            missing: std::mem::take(&mut found.missing),
        };
    } else {
        let start = edges::start(run, whole, &points);
        let candidate = Span {
            from_ns: start.at_ns,
            to_ns: load.to_ns,
        };
        found.start = Some(start);
        judge(run, options, candidate, &points, &mut found);
    }
    found.figures = figures::figures(run, whole, found.span);
    found
}

/// Looks for shifts and drifts between the edges; a usable first plateau is looked at again.
fn judge(run: &Run, options: WindowOptions, candidate: Span, points: &[Points], found: &mut SteadyWindow) {
    let mut span = candidate;
    let mut shift = None;
    loop {
        let (assessed, missing) = assess_signals(run, span, points);
        let correlation_secs = assessed
            .iter()
            .map(|signal| signal.correlation_secs)
            .reduce(f64::max);
        let minimum = Minimum::of(run, span, options.floor_secs, correlation_secs);
        let required_secs = minimum.required_secs;
        found.minimum = Some(minimum);
        if span.secs() < required_secs {
            found.state = match shift {
                Some(shift) => without_plateau(shift),
                None => WindowState::TooShort { secs: span.secs() },
            };
            return;
        }
        if assessed.is_empty() {
            found.state = WindowState::NotEvaluated { missing };
            return;
        }
        if let Some((signal, at_ns, relative_change)) = first_shift(&assessed) {
            let first = Span { to_ns: at_ns, ..span };
            let first_is_used =
                first.secs() >= PLATEAU_SHARE * candidate.secs() && first.secs() >= required_secs;
            // The first plateau may hold an earlier shift: the first one found is reported, the last plateau is used.
            shift.get_or_insert(WindowState::LevelShift {
                signal,
                at_ns,
                relative_change,
                first,
                second: Span {
                    from_ns: at_ns,
                    ..span
                },
                first_is_used,
            });
            if !first_is_used {
                found.state = shift.map(without_plateau).expect("a shift was just put there");
                return;
            }
            span = first;
            continue;
        }
        found.span = Some(span);
        found.missing.extend(missing);
        found.drifting = assessed.iter().filter_map(AssessedSignal::drift).collect();
        found.state = match shift {
            Some(shift) => shift,
            None if found.drifting.is_empty() => WindowState::Steady,
            None => WindowState::Drifting,
        };
        return;
    }
}

fn without_plateau(mut shift: WindowState) -> WindowState {
    if let WindowState::LevelShift { first_is_used, .. } = &mut shift {
        *first_is_used = false;
    }
    shift
}

struct AssessedSignal {
    signal: Signal,
    steadiness: Steadiness,
    /// When a level shift happened.
    shift_ns: Option<i64>,
    correlation_secs: f64,
}

impl AssessedSignal {
    fn drift(&self) -> Option<Drifting> {
        match self.steadiness {
            Steadiness::Drift { relative_change } => Some(Drifting {
                signal: self.signal,
                relative_change,
            }),
            _ => None,
        }
    }
}

/// The signals that can be assessed in a span, and why others cannot.
fn assess_signals(run: &Run, span: Span, points: &[Points]) -> (Vec<AssessedSignal>, Vec<String>) {
    let seconds = run.seconds.inside(span);
    let (mut assessed, mut missing) = (Vec::new(), Vec::new());
    for points in points.iter().map(|points| points.inside(&seconds)) {
        let Some(assessment) = assess(&points.values) else {
            let (name, count) = (points.signal.name(), points.values.len());
            missing.push(format!("{name} (only {count} seconds with a value)"));
            continue;
        };
        let spacing_secs = seconds.len() as f64 / points.values.len() as f64;
        assessed.push(AssessedSignal {
            signal: points.signal,
            steadiness: assessment.steadiness,
            shift_ns: match assessment.steadiness {
                Steadiness::LevelShift { at, .. } => Some(run.seconds.begins_ns(points.seconds[at])),
                _ => None,
            },
            correlation_secs: assessment.correlation_time * spacing_secs,
        });
    }
    (assessed, missing)
}

fn first_shift(assessed: &[AssessedSignal]) -> Option<(Signal, i64, f64)> {
    assessed
        .iter()
        .filter_map(|signal| match signal.steadiness {
            Steadiness::LevelShift { relative_change, .. } => {
                Some((signal.signal, signal.shift_ns?, relative_change))
            }
            _ => None,
        })
        .min_by_key(|(_, at_ns, _)| *at_ns)
}
