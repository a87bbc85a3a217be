//! Pairs of requests and of seconds of two runs.

use super::metric::{Metric, belongs};
use crate::input::{RequestTimes, Run, Span};

/// Runs are paired if at least this share of positions has the same sample.
const AGREEMENT: f64 = 0.95;

/// Whether two runs issued the same samples in the same order, as LoadGen does with the same seeds.
pub(super) fn issued_alike(base: &Run, other: &Run) -> bool {
    let pairs = base.requests.iter().zip(&other.requests);
    let alike = pairs.filter(|(a, b)| same_sample(a, b)).count();
    let positions = base.requests.len().max(other.requests.len());
    // A run that was cut is still paired with the longer one.
    let shared = base.requests.len().min(other.requests.len());
    positions > 0 && alike as f64 >= AGREEMENT * shared as f64 && shared as f64 >= 0.5 * positions as f64
}

fn same_sample(a: &RequestTimes, b: &RequestTimes) -> bool {
    a.sample_index.is_some() && a.sample_index == b.sample_index
}

/// The values of a latency for the requests that both runs issued in their windows. End-to-end latency is paired only
/// where both answers have the same length; per token, lengths may differ.
pub(super) fn latencies(metric: Metric, base: (&Run, Span), other: (&Run, Span)) -> (Vec<f64>, Vec<f64>) {
    base.0
        .requests
        .iter()
        .zip(&other.0.requests)
        .filter(|(a, b)| same_sample(a, b) && belongs(base.0, a, base.1) && belongs(other.0, b, other.1))
        .filter(|(a, b)| metric != Metric::EndToEndLatency || a.output_tokens == b.output_tokens)
        .filter_map(|(a, b)| Some((metric.of_request(a)?, metric.of_request(b)?)))
        .unzip()
}

/// Bins that a throughput comparison starts with: two in each of 32 batches.
const BINS: usize = 64;
const FEWEST_BINS: usize = 16;

/// Tokens of seconds summed into bins of one length, so that no bin is empty: an empty one has no logarithm. The first
/// seconds are left out where they do not fill a bin. `None` for fewer than 16 seconds, or where even 16 bins are not
/// all filled.
pub(super) fn bins(series: &[&[f64]]) -> Option<Vec<Vec<f64>>> {
    let seconds = series.iter().map(|tokens| tokens.len()).min()?;
    let mut count = BINS;
    while count >= FEWEST_BINS {
        if seconds >= count {
            let length = seconds / count;
            let binned: Vec<Vec<f64>> = series
                .iter()
                .map(|tokens| {
                    tokens[tokens.len() % length..]
                        .chunks_exact(length)
                        .map(|bin| bin.iter().sum())
                        .collect()
                })
                .collect();
            if binned.iter().flatten().all(|tokens: &f64| *tokens > 0.0) {
                return Some(binned);
            }
        }
        count /= 2;
    }
    None
}

/// The part of both windows that lies at the same time after the first query.
pub(super) fn common_phase(base: (&Run, Span), other: (&Run, Span)) -> Option<(Span, Span)> {
    let (zero_a, zero_b) = (base.0.whole()?.from_ns, other.0.whole()?.from_ns);
    let from = (base.1.from_ns - zero_a).max(other.1.from_ns - zero_b);
    let to = (base.1.to_ns - zero_a).min(other.1.to_ns - zero_b);
    let span = |zero: i64| Span {
        from_ns: zero + from,
        to_ns: zero + to,
    };
    (from < to).then(|| (span(zero_a), span(zero_b)))
}
