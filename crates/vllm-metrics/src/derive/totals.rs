//! What a whole deployment does per second: counters of every engine and endpoint added up.
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
use super::series::{Builder, phase_at};
use crate::model::{RunData, SeriesData};

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

/// Adds every total whose counters the run holds.
pub fn append(run: &RunData, out: &mut Vec<SeriesData>) {
    for (name, counter, unit) in RATES {
        let (times, values) = rate(run, counter);
        push(run, name, counter, unit, &times, &values, out);
    }
    let (queries, hits) = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total");
    let (query_times, query_rate) = rate(run, queries);
    let (hit_times, hit_rate) = rate(run, hits);
    if query_times == hit_times {
        let (times, values): (Vec<i64>, Vec<f64>) = query_times
            .iter()
            .zip(query_rate.iter().zip(&hit_rate))
            // Without queries there is no ratio: the row is missing, not 0.
            .filter(|(_, (q, _))| **q > 0.0)
            .map(|(t, (q, h))| (*t, h / q))
            .unzip();
        push(
            run,
            "vllm:prefix_cache_hit_ratio",
            hits,
            "ratio",
            &times,
            &values,
            out,
        );
    }
}

/// Every series of this metric name.
pub fn named<'a>(run: &'a RunData, name: &'a str) -> impl Iterator<Item = &'a SeriesData> + 'a {
    run.series.iter().filter(move |s| &*s.def.metric_name == name)
}

/// Rate per second of a counter, added up over all its series; empty if the run lacks it.
pub fn rate(run: &RunData, counter: &str) -> (Vec<i64>, Vec<f64>) {
    rate_of(named(run, counter))
}

/// Rate per second of these counters, added up.
pub fn rate_of<'a>(series: impl Iterator<Item = &'a SeriesData>) -> (Vec<i64>, Vec<f64>) {
    let rates: Vec<(Vec<i64>, Vec<f64>)> = series
        .map(|s| {
            counter::steps(&s.timestamps_ns, &s.values)
                .iter()
                .filter_map(|step| step.per_second().map(|rate| (step.end_ns, rate)))
                .unzip()
        })
        .collect();
    let points: Vec<Points<'_>> = rates.iter().map(|(t, v)| (&t[..], &v[..])).collect();
    align::combine(&points, Combine::Sum)
}

/// A gauge combined over all its series; empty if the run lacks it.
pub fn gauge(run: &RunData, name: &str, how: Combine) -> (Vec<i64>, Vec<f64>) {
    let points: Vec<Points<'_>> = named(run, name)
        .map(|s| (&s.timestamps_ns[..], &s.values[..]))
        .collect();
    align::combine(&points, how)
}

fn push(
    run: &RunData,
    name: &str,
    from: &str,
    unit: &str,
    times: &[i64],
    values: &[f64],
    out: &mut Vec<SeriesData>,
) {
    let Some(first) = named(run, from).next() else {
        return;
    };
    let mut origin = (*first.def).clone();
    // A total over endpoints belongs to none of them.
    if named(run, from).any(|s| s.def.endpoint_url != origin.endpoint_url) {
        origin.endpoint_url = Arc::from("");
    }
    let labels = Arc::from(format!(r#"{{"derived_from":"{from}"}}"#));
    let mut builder = Builder::gauge(name, labels, unit, &origin);
    for (&t, &value) in times.iter().zip(values) {
        let index = first
            .timestamps_ns
            .partition_point(|at| *at <= t)
            .saturating_sub(1);
        builder.push(t, value, &phase_at(first, index));
    }
    out.push(builder.finish());
}
