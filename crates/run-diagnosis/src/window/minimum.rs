//! How long a window has to be before its figures mean something.

use run_statistics::percentile;
use serde::Serialize;

use crate::input::{Run, Scenario, Span};

/// Latencies that have to fit in the window.
const LATENCIES: f64 = 5.0;

/// Correlation times that have to fit in the window: with fewer, no method gives an honest interval.
const CORRELATION_TIMES: f64 = 20.0;

/// The shortest window, and what asks for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Minimum {
    /// The largest of the others, in seconds.
    pub required_secs: f64,
    /// What is always asked for, in seconds.
    pub floor_secs: f64,
    /// Five times the 99th percentile of latency, in seconds; absent without finished requests.
    pub latency_secs: Option<f64>,
    /// Twenty times the longest correlation time of the signals, in seconds; absent without signals.
    pub correlation_secs: Option<f64>,
}

impl Minimum {
    pub(super) fn of(run: &Run, span: Span, floor_secs: f64, correlation_time_secs: Option<f64>) -> Self {
        let latency_secs = p99_latency_secs(run, span).map(|p99| LATENCIES * p99);
        let correlation_secs = correlation_time_secs.map(|secs| CORRELATION_TIMES * secs);
        let required_secs = [latency_secs, correlation_secs]
            .into_iter()
            .flatten()
            .fold(floor_secs, f64::max);
        Self {
            required_secs,
            floor_secs,
            latency_secs,
            correlation_secs,
        }
    }

    /// Which of the three asks for the most.
    pub fn because(&self) -> String {
        if self.correlation_secs == Some(self.required_secs) {
            "20 times the time over which the run's figures correlate".to_owned()
        } else if self.latency_secs == Some(self.required_secs) {
            "5 times the 99th percentile of latency".to_owned()
        } else {
            "the shortest window that is accepted".to_owned()
        }
    }
}

/// Offline issues everything at once, so its latency from issuing is the run's length; there, the time from the first
/// token to the last counts.
fn p99_latency_secs(run: &Run, span: Span) -> Option<f64> {
    let offline = run.facts.scenario == Scenario::Offline;
    let latencies: Vec<f64> = run
        .requests
        .iter()
        .filter(|request| !request.failed)
        .filter_map(|request| {
            let from_ns = if offline {
                request.first_token_ns?
            } else {
                request.issued_ns
            };
            span.contains(from_ns).then_some(())?;
            Some((request.done_ns? - from_ns) as f64 / 1e9)
        })
        .collect();
    percentile::linear(&percentile::sorted(&latencies), 0.99)
}
