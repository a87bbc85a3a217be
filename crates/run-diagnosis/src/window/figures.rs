//! The run's main figures, for the whole run and for the window.

use run_statistics::{mean, percentile};
use serde::Serialize;

use crate::input::{RequestTimes, Run, Span};

/// One figure twice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowFigure {
    /// What it is.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Over the whole run.
    pub whole_run: Option<f64>,
    /// Over the window.
    pub window: Option<f64>,
    /// Window over whole run.
    pub ratio: Option<f64>,
}

/// Throughput counts tokens by when they arrived, latency requests by when they were issued.
pub(super) fn figures(run: &Run, whole: Span, window: Option<Span>) -> Vec<WindowFigure> {
    let compared = |name, unit, whole_run: Option<f64>, window: Option<f64>| {
        let ratio = whole_run
            .zip(window)
            .map(|(whole, window)| window / whole)
            .filter(|ratio| ratio.is_finite());
        WindowFigure {
            name,
            unit,
            whole_run,
            window,
            ratio,
        }
    };
    let figure = |name, unit, value: &dyn Fn(Span) -> Option<f64>| {
        compared(name, unit, value(whole), window.and_then(value))
    };
    let latency = |span: Span, of: fn(&RequestTimes) -> Option<f64>| -> Vec<f64> {
        let issued = run
            .requests
            .iter()
            .filter(|request| span.contains(request.issued_ns));
        issued.filter_map(of).collect()
    };
    // Requests that failed after the last answer bring no tokens, and their time does not count.
    let answers = run.requests.iter().filter(|request| !request.failed);
    let answered = Span {
        to_ns: answers
            .filter_map(|request| request.done_ns)
            .max()
            .unwrap_or(whole.to_ns),
        ..whole
    };
    let p99 = |values: &[f64]| percentile::loadgen(&percentile::sorted(values), 0.99);
    let ttft = RequestTimes::ttft_secs;
    let tpot = RequestTimes::tpot_secs;
    let e2e = RequestTimes::e2e_secs;
    vec![
        compared(
            "output token throughput",
            "tokens/s",
            throughput(run, answered, answered),
            window.and_then(|window| throughput(run, whole, window)),
        ),
        figure("mean time to first token", "s", &|span| {
            mean(&latency(span, ttft))
        }),
        figure("p99 time to first token", "s", &|span| p99(&latency(span, ttft))),
        figure("mean time per output token", "s", &|span| {
            mean(&latency(span, tpot))
        }),
        figure("p99 time per output token", "s", &|span| {
            p99(&latency(span, tpot))
        }),
        figure("mean end-to-end latency", "s", &|span| mean(&latency(span, e2e))),
    ]
}

/// Output tokens of a span over its length. A second that is only partly in the span counts by that part; the last
/// second of a run ends with the run. Seconds that were not read count neither way.
fn throughput(run: &Run, whole: Span, span: Span) -> Option<f64> {
    const SECOND: i64 = 1_000_000_000;
    let (mut tokens, mut secs) = (0.0, 0.0);
    for second in 0..run.seconds.seconds {
        let from_ns = run.seconds.begins_ns(second);
        let length = |within: Span| {
            Span {
                from_ns: from_ns.max(within.from_ns),
                to_ns: (from_ns + SECOND).min(within.to_ns),
            }
            .secs()
        };
        let (inside, of) = (length(span), length(whole));
        if let Some(value) = run.seconds.output_tokens.at(second).filter(|_| inside > 0.0) {
            tokens += value * inside / of;
            secs += inside;
        }
    }
    (secs > 0.0).then(|| tokens / secs)
}
