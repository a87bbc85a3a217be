//! The metrics of a comparison, and their values in a run's steady window.

use serde::Serialize;

use super::ComparedRun;
use crate::input::{RequestTimes, Run, Scenario, Span};
use crate::window::Signal;

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// (E2E − TTFT) / (output tokens − 1).
    TimePerOutputToken,
    /// Output tokens that reach the client per second.
    OutputTokenThroughput,
    /// From sending to the complete answer.
    EndToEndLatency,
    /// From sending to the first content token.
    TimeToFirstToken,
}

impl Metric {
    /// Those that decide, most reliable first.
    pub const DECISIVE: [Self; 4] = [
        Self::TimePerOutputToken,
        Self::OutputTokenThroughput,
        Self::EndToEndLatency,
        Self::TimeToFirstToken,
    ];

    /// Those with a value per request.
    pub(super) const LATENCIES: [Self; 3] = [
        Self::TimePerOutputToken,
        Self::EndToEndLatency,
        Self::TimeToFirstToken,
    ];

    /// As sentences call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TimePerOutputToken => "time per output token",
            Self::OutputTokenThroughput => "output token throughput",
            Self::EndToEndLatency => "end-to-end latency",
            Self::TimeToFirstToken => "time to first token",
        }
    }

    /// Unit of its values.
    pub fn unit(self) -> &'static str {
        match self {
            Self::OutputTokenThroughput => "tokens/s",
            _ => "s",
        }
    }

    pub(super) fn is_latency(self) -> bool {
        self != Self::OutputTokenThroughput
    }

    /// Which series of the steady window says whether this metric has a single value.
    fn signal(self) -> Signal {
        if self.is_latency() {
            Signal::TimePerOutputToken
        } else {
            Signal::OutputTokens
        }
    }

    /// Whether it means something in a scenario: Offline issues everything at once, so that its latencies are queue.
    pub(super) fn applies_to(self, scenario: Scenario) -> bool {
        scenario != Scenario::Offline
            || matches!(self, Self::TimePerOutputToken | Self::OutputTokenThroughput)
    }

    /// The value of a request; absent for throughput.
    pub(super) fn of_request(self, request: &RequestTimes) -> Option<f64> {
        let value = match self {
            Self::TimePerOutputToken => request.tpot_secs(),
            Self::EndToEndLatency => request.e2e_secs(),
            Self::TimeToFirstToken => request.ttft_secs(),
            Self::OutputTokenThroughput => None,
        };
        // Ratios need values above 0.
        value.filter(|value| *value > 0.0)
    }
}

/// The stretch a metric is taken from, or why there is none.
pub(super) fn span(metric: Metric, compared: &ComparedRun<'_>) -> Result<Span, String> {
    let name = &compared.run.facts.name;
    let window = compared.window;
    if window.span.is_some() {
        return window.span_for(metric.signal()).ok_or_else(|| {
            format!(
                "{name} drifts, so that no single number describes its {}",
                metric.name()
            )
        });
    }
    if metric.is_latency() {
        return Err(format!("{name} has no steady window"));
    }
    // A throughput of the whole run still says how long the work took.
    window.whole.ok_or_else(|| format!("{name} has no requests"))
}

/// Whether a request belongs to a stretch: by when it was issued, in Offline by its first token.
pub(super) fn belongs(run: &Run, request: &RequestTimes, span: Span) -> bool {
    let time_ns = match run.facts.scenario {
        Scenario::Offline => request.first_token_ns,
        _ => Some(request.issued_ns),
    };
    time_ns.is_some_and(|time_ns| span.contains(time_ns))
}

/// The values of a latency in a stretch, in issue order.
pub(super) fn latencies(metric: Metric, run: &Run, span: Span) -> Vec<f64> {
    let inside = run.requests.iter().filter(|request| belongs(run, request, span));
    inside.filter_map(|request| metric.of_request(request)).collect()
}

/// Output tokens of each second of a stretch. `Err` names what is missing.
pub(super) fn tokens_per_second(run: &Run, span: Span) -> Result<Vec<f64>, String> {
    let column = &run.seconds.output_tokens;
    if let Some(because) = column.absent_because() {
        return Err(format!(
            "{}: no output tokens per second ({because})",
            run.facts.name
        ));
    }
    let seconds = run.seconds.inside(span);
    let wanted = seconds.len();
    let values: Vec<f64> = column.values(seconds).collect();
    if values.len() < wanted {
        let absent = wanted - values.len();
        return Err(format!(
            "{}: output tokens are absent in {absent} of {wanted} seconds",
            run.facts.name
        ));
    }
    Ok(values)
}
