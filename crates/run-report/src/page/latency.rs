//! Latencies of requests over time, by when they were issued.

use report_page::model::{Kind, Series};
use run_diagnosis::input::RequestTimes;
use vllm_metrics::derive::quantile;

use crate::analysis::Analysis;

/// About so many points over a run.
const POINTS: i64 = 150;
/// Fewer requests than this in a window say nothing about its p99, and little about its median.
const FEWEST: usize = 5;

/// Name of a series: `client_time_to_first_token_seconds` with the label `quantile`.
pub(super) const METRICS: [(&str, &str, Of); 2] = [
    (
        "client_time_to_first_token_seconds",
        "time to first token",
        RequestTimes::ttft_secs,
    ),
    (
        "client_time_per_output_token_seconds",
        "time per output token",
        RequestTimes::tpot_secs,
    ),
];
/// Quantiles of each.
pub(super) const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

type Of = fn(&RequestTimes) -> Option<f64>;

pub(super) fn of(analysis: &Analysis<'_>) -> Vec<Series> {
    let requests = &analysis.run.requests;
    let Some(whole) = analysis.window.whole else {
        return Vec::new();
    };
    const SECOND: i64 = 1_000_000_000;
    let window_ns = ((whole.to_ns - whole.from_ns) / POINTS / SECOND + 1) * SECOND;
    let source = if analysis.run.facts.simulated {
        "derived-simulated"
    } else {
        "derived"
    };
    let mut all = Vec::new();
    for (name, what, metric) in METRICS {
        let windows = windows(requests, whole.from_ns, window_ns, metric);
        for (q, label) in QUANTILES {
            let (timestamps_ns, values) = windows
                .iter()
                .filter_map(|(end_ns, sorted)| Some((*end_ns, quantile::of_sorted_as_loadgen(sorted, q)?)))
                .unzip();
            all.push(Series {
                name: name.to_owned(),
                labels: [("quantile".to_owned(), label.to_owned())].into(),
                unit: "seconds".to_owned(),
                source: source.to_owned(),
                kind: Kind::Derived,
                description: format!(
                    "Quantile of the {what} of requests issued in windows of {} s, exact.",
                    window_ns / SECOND
                ),
                timestamps_ns,
                values,
                gaps: Vec::new(),
            });
        }
    }
    all
}

/// Sorted values of the requests issued in each window, with the window's end.
fn windows(requests: &[RequestTimes], from_ns: i64, window_ns: i64, metric: Of) -> Vec<(i64, Vec<f64>)> {
    let mut windows: Vec<(i64, Vec<f64>)> = Vec::new();
    for request in requests {
        let Some(value) = metric(request) else { continue };
        let end_ns = from_ns + ((request.issued_ns - from_ns) / window_ns + 1) * window_ns;
        match windows.last_mut() {
            Some((last_ns, values)) if *last_ns == end_ns => values.push(value),
            _ => windows.push((end_ns, vec![value])),
        }
    }
    windows.retain(|(_, values)| values.len() >= FEWEST);
    for (_, values) in &mut windows {
        values.sort_by(f64::total_cmp);
    }
    windows
}
