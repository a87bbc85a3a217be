//! Latencies of requests over time, by when they were issued. Offline issues all at once: there, by when their value was
//! known.

use std::collections::BTreeMap;

use report_page::model::{Kind, Series};
use run_diagnosis::input::{RequestTimes, Scenario};
use vllm_metrics::derive::quantile;

use crate::analysis::Analysis;

/// About so many points over a run.
const POINTS: i64 = 150;
/// Fewer requests than this in a window say nothing about its p99, and little about its median.
const FEWEST: usize = 5;

/// A latency whose quantiles are series with the label `quantile`.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    of: fn(&RequestTimes) -> Option<f64>,
    known_at: fn(&RequestTimes) -> Option<i64>,
    known_with: &'static str,
}

pub(super) const METRICS: [Metric; 2] = [
    Metric {
        name: "client_time_to_first_token_seconds",
        what: "time to first token",
        of: RequestTimes::ttft_secs,
        known_at: |request| request.first_token_ns,
        known_with: "whose first token came",
    },
    Metric {
        name: "client_time_per_output_token_seconds",
        what: "time per output token",
        of: RequestTimes::tpot_secs,
        known_at: |request| request.done_ns,
        known_with: "that ended",
    },
];
/// Quantiles of each.
pub(super) const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

impl Metric {
    /// Which requests a window has, as in "requests issued".
    pub(super) fn placed(&self, scenario: Scenario) -> &'static str {
        match scenario {
            Scenario::Offline => self.known_with,
            _ => "issued",
        }
    }

    fn place_ns(&self, scenario: Scenario, request: &RequestTimes) -> Option<i64> {
        match scenario {
            Scenario::Offline => (self.known_at)(request),
            _ => Some(request.issued_ns),
        }
    }

    /// Sorted values of the requests in each window, by the window's end.
    fn windows(&self, analysis: &Analysis<'_>, from_ns: i64, window_ns: i64) -> BTreeMap<i64, Vec<f64>> {
        let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for request in &analysis.run.requests {
            let place_ns = self.place_ns(analysis.run.facts.scenario, request);
            let (Some(value), Some(place_ns)) = ((self.of)(request), place_ns) else {
                continue;
            };
            let end_ns = from_ns + ((place_ns - from_ns) / window_ns + 1) * window_ns;
            windows.entry(end_ns).or_default().push(value);
        }
        windows.retain(|_, values| values.len() >= FEWEST);
        for values in windows.values_mut() {
            values.sort_by(f64::total_cmp);
        }
        windows
    }
}

pub(super) fn of(analysis: &Analysis<'_>) -> Vec<Series> {
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
    for metric in METRICS {
        let windows = metric.windows(analysis, whole.from_ns, window_ns);
        for (q, label) in QUANTILES {
            let (timestamps_ns, values) = windows
                .iter()
                .filter_map(|(end_ns, sorted)| Some((*end_ns, quantile::of_sorted_as_loadgen(sorted, q)?)))
                .unzip();
            all.push(Series {
                name: metric.name.to_owned(),
                labels: [("quantile".to_owned(), label.to_owned())].into(),
                unit: "seconds".to_owned(),
                source: source.to_owned(),
                kind: Kind::Derived,
                description: format!(
                    "Quantile of the {} of requests {} in windows of {} s, exact.",
                    metric.what,
                    metric.placed(analysis.run.facts.scenario),
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
