//! The two series that decide whether a run is steady: output tokens per second, and time per output token.

use std::ops::Range;

use serde::Serialize;

use crate::input::{Run, Scenario, Span};

/// A throughput series with more absent seconds than this is not evaluated.
const MOST_ABSENT: f64 = 0.2;

/// Which series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Output tokens that arrived in a second.
    OutputTokens,
    /// Mean time per output token of the requests issued in a second.
    TimePerOutputToken,
}

impl Signal {
    /// As sentences call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutputTokens => "output tokens per second",
            Self::TimePerOutputToken => "time per output token",
        }
    }
}

/// The values of a signal that are present, with the second of each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Points {
    pub(super) signal: Signal,
    pub(super) seconds: Vec<usize>,
    pub(super) values: Vec<f64>,
}

impl Points {
    /// Only those in a range of seconds.
    pub(super) fn inside(&self, seconds: &Range<usize>) -> Self {
        let from = self.seconds.partition_point(|second| *second < seconds.start);
        let to = self
            .seconds
            .partition_point(|second| *second < seconds.end)
            .max(from);
        Self {
            signal: self.signal,
            seconds: self.seconds[from..to].to_vec(),
            values: self.values[from..to].to_vec(),
        }
    }
}

/// Both signals inside a span, or what is missing for one.
pub(super) fn signals(run: &Run, span: Span) -> Vec<Result<Points, String>> {
    vec![output_tokens(run, span), time_per_output_token(run, span)]
}

fn output_tokens(run: &Run, span: Span) -> Result<Points, String> {
    let column = &run.seconds.output_tokens;
    if let Some(because) = column.absent_because() {
        return Err(format!("output tokens per second ({because})"));
    }
    let seconds = run.seconds.inside(span);
    let wanted = seconds.len();
    let (seconds, values): (Vec<usize>, Vec<f64>) = seconds
        .filter_map(|second| Some((second, column.at(second)?)))
        .unzip();
    let absent = wanted - seconds.len();
    if absent as f64 > MOST_ABSENT * wanted as f64 {
        return Err(format!(
            "output tokens per second (absent in {absent} of {wanted} seconds)"
        ));
    }
    Ok(Points {
        signal: Signal::OutputTokens,
        seconds,
        values,
    })
}

fn time_per_output_token(run: &Run, span: Span) -> Result<Points, String> {
    if run.facts.scenario == Scenario::Offline {
        return Err("time per output token over time (Offline issues all requests at once)".to_owned());
    }
    let range = run.seconds.inside(span);
    let mut sums = vec![(0.0, 0_u32); range.len()];
    for request in &run.requests {
        let second =
            usize::try_from((request.issued_ns - run.seconds.start_ns).div_euclid(1_000_000_000)).ok();
        let place = second.and_then(|second| second.checked_sub(range.start));
        if let (Some(cell), Some(tpot)) = (place.and_then(|i| sums.get_mut(i)), request.tpot_secs()) {
            cell.0 += tpot;
            cell.1 += 1;
        }
    }
    let (seconds, values): (Vec<usize>, Vec<f64>) = sums
        .into_iter()
        .enumerate()
        .filter(|(_, (_, count))| *count > 0)
        .map(|(i, (sum, count))| (range.start + i, sum / f64::from(count)))
        .unzip();
    if seconds.is_empty() {
        return Err("time per output token (no request of two tokens or more)".to_owned());
    }
    Ok(Points {
        signal: Signal::TimePerOutputToken,
        seconds,
        values,
    })
}
