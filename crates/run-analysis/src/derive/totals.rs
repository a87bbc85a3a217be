//! Rates of a whole deployment: counters of every engine and endpoint added up.
//!
//! | name | made from |
//! |---|---|
//! | `vllm:tokens_per_second` | `vllm:generation_tokens_total` |
//! | `vllm:prompt_tokens_per_second` | `vllm:prompt_tokens_total` |
//! | `vllm:requests_per_second` | `vllm:request_success_total`, every finish reason |
//! | `vllm:prefix_cache_hit_ratio` | increases of `vllm:prefix_cache_hits_total` over `…_queries_total` |

use std::sync::Arc;

use super::align::{self, Combine, Points};
use super::counter;
use super::series::{Builder, Quotients, phase_at};
use run_model::{RunData, SeriesData};

const RATES: &[(&str, &str, &str)] = &[
    (
        "vllm:tokens_per_second",
        "vllm:generation_tokens_total",
        "tokens/second",
    ),
    (
        "vllm:prompt_tokens_per_second",
        "vllm:prompt_tokens_total",
        "tokens/second",
    ),
    (
        "vllm:requests_per_second",
        "vllm:request_success_total",
        "requests/second",
    ),
];

/// Adds every total whose counters are in the run.
pub fn append(run: &RunData, out: &mut Vec<SeriesData>) {
    out.extend(quotients(run).into_iter().map(|q| q.series));
}

/// Returns every total whose counters are in the run, with the weight of each value: the interval's seconds
/// for a rate, the number of queried tokens for the hit ratio. The weighted mean is that of the whole run.
pub fn quotients(run: &RunData) -> Vec<Quotients> {
    let mut out = Vec::new();
    for (name, counter, unit) in RATES {
        let points = steps_of(named(run, counter))
            .iter()
            .filter_map(|step| Some((step.end_ns, step.per_second()?, step.secs())))
            .collect();
        out.extend(quotient(run, name, counter, unit, points));
    }
    let (queries, hits) = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total");
    let (query_steps, hit_steps) = (steps_of(named(run, queries)), steps_of(named(run, hits)));
    let same_times = query_steps.len() == hit_steps.len()
        && query_steps
            .iter()
            .zip(&hit_steps)
            .all(|(q, h)| (q.start_ns, q.end_ns) == (h.start_ns, h.end_ns));
    if same_times {
        let points = query_steps
            .iter()
            .zip(&hit_steps)
            // Without queries there is no ratio: the row is missing, not 0.
            .filter(|(q, _)| q.increase > 0.0)
            .map(|(q, h)| (q.end_ns, h.increase / q.increase, q.increase))
            .collect();
        out.extend(quotient(
            run,
            "vllm:prefix_cache_hit_ratio",
            hits,
            "ratio",
            points,
        ));
    }
    out
}

/// Every series of this metric name.
pub fn named<'a>(run: &'a RunData, name: &'a str) -> impl Iterator<Item = &'a SeriesData> + 'a {
    run.series.iter().filter(move |s| &*s.def.metric_name == name)
}

/// Rate per second of a counter, added up over all its series; empty if it is not in the run.
pub fn rate(run: &RunData, counter: &str) -> (Vec<i64>, Vec<f64>) {
    rate_of(named(run, counter))
}

/// Rate per second of these counters, added up.
pub fn rate_of<'a>(series: impl Iterator<Item = &'a SeriesData>) -> (Vec<i64>, Vec<f64>) {
    steps_of(series)
        .iter()
        .filter_map(|step| Some((step.end_ns, step.per_second()?)))
        .unzip()
}

/// The steps of these counters, added up.
pub fn steps_of<'a>(series: impl Iterator<Item = &'a SeriesData>) -> Vec<counter::Step> {
    let points: Vec<Points<'_>> = series.map(|s| (&s.timestamps_ns[..], &s.values[..])).collect();
    if points.is_empty() {
        return Vec::new();
    }
    counter::sum_steps(&points)
}

/// A gauge combined over all its series; empty if it is not in the run.
pub fn gauge(run: &RunData, name: &str, how: Combine) -> (Vec<i64>, Vec<f64>) {
    let points: Vec<Points<'_>> = named(run, name)
        .map(|s| (&s.timestamps_ns[..], &s.values[..]))
        .collect();
    align::combine(&points, how)
}

/// Time, value and weight of each point.
fn quotient(
    run: &RunData,
    name: &str,
    from: &str,
    unit: &str,
    points: Vec<(i64, f64, f64)>,
) -> Option<Quotients> {
    let first = named(run, from).next()?;
    let mut origin = (*first.def).clone();
    // A total over several endpoints has no endpoint.
    if named(run, from).any(|s| s.def.endpoint_url != origin.endpoint_url) {
        origin.endpoint_url = Arc::from("");
    }
    let labels = Arc::from(format!(r#"{{"derived_from":"{from}"}}"#));
    let mut builder = Builder::gauge(name, labels, unit, &origin);
    let mut weights = Vec::with_capacity(points.len());
    for (t, value, weight) in points.into_iter().filter(|(_, value, _)| value.is_finite()) {
        let index = first
            .timestamps_ns
            .partition_point(|at| *at <= t)
            .saturating_sub(1);
        builder.push(t, value, &phase_at(first, index));
        weights.push(weight);
    }
    Some(Quotients {
        series: builder.finish(),
        weights,
    })
}
