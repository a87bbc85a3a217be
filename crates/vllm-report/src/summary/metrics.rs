//! Every metric of a run by name: gauges, counters and histograms per series, and all series of a metric
//! combined.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};
use vllm_metrics::derive::align::{self, Combine};
use vllm_metrics::derive::estimate::Estimator;
use vllm_metrics::derive::histogram::{Histogram, Interval};
use vllm_metrics::derive::quantile;
use vllm_metrics::derive::series::Quotients;
use vllm_metrics::derive::window::Window;
use vllm_metrics::derive::{counter, engine, names, totals};
use vllm_metrics::saw_tooth::alternates;
use vllm_metrics::{MetricType, SeriesData};

use super::labels_value;
use crate::query::{self, View};
use crate::stats::{self, PERCENTILES, Stats};

/// Every metric by name, histograms by family.
pub(super) fn all(view: &View<'_>, wanted: impl Fn(&SeriesData) -> bool) -> Value {
    let mut by_name: BTreeMap<&str, Vec<&SeriesData>> = BTreeMap::new();
    let mut out = Map::new();
    let families: HashSet<&str> = view
        .analysis
        .histograms()
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    for series in view.run.series.iter().filter(|s| wanted(s)) {
        let name = &*series.def.metric_name;
        if series.def.metric_type == MetricType::Histogram {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|e| name.strip_suffix(e))
                .unwrap_or(name);
            if families.contains(family) {
                if !out.contains_key(family) {
                    out.insert(family.to_owned(), histograms(view, &view.family(family)));
                }
                continue;
            }
        }
        by_name.entry(name).or_default().push(series);
    }
    for (name, series) in by_name {
        out.insert(name.to_owned(), metric(view, &series));
    }
    Value::Object(out)
}

/// One metric: every series of it, and all combined.
fn metric(view: &View<'_>, series: &[&SeriesData]) -> Value {
    let counter = series[0].def.metric_type == MetricType::Counter;
    let entries: Vec<Value> = series
        .iter()
        .map(|s| {
            let entry = if counter {
                count_up(view, s)
            } else {
                gauges(&[*s], Combine::Sum)
            };
            with_identity(s, entry)
        })
        .collect();
    json!({
        "type": series[0].def.metric_type.as_str(),
        "unit": &*series[0].def.unit,
        "source": &*series[0].def.source,
        "series": entries,
        "aggregate": aggregate(view, series),
    })
}

/// A counter: its increase and rate, never statistics of its absolute value.
fn count_up(view: &View<'_>, series: &SeriesData) -> Value {
    let steps = counter::steps(&series.timestamps_ns, &series.values);
    let (windows, _, _) = view.windows(&[series], None);
    let mut entry = json!({
        "samples": series.values.len(),
        "first": stats::number(series.values.first().copied()),
        "last": stats::number(series.values.last().copied()),
        "resets": steps.iter().filter(|s| s.reset).count(),
    });
    insert_rise(&mut entry, &windows);
    entry
}

/// Increase, time and rate of windows.
fn insert_rise(entry: &mut Value, windows: &[Window]) {
    let increase = (!windows.is_empty()).then(|| windows.iter().map(|w| w.increase).sum::<f64>());
    let observed: f64 = windows.iter().map(Window::secs).sum();
    let rate = increase
        .filter(|_| observed > 0.0)
        .map(|increase| increase / observed);
    entry["increase"] = stats::number(increase);
    entry["observed_secs"] = stats::number(increase.map(|_| observed));
    entry["mean_per_second"] = stats::number(rate);
    entry["per_second"] = json!(query::rate_stats(windows));
}

/// All series of a metric combined by its rule, or the reason why they cannot be.
pub(super) fn aggregate(view: &View<'_>, series: &[&SeriesData]) -> Value {
    let (combine, how) = match query::combined(series) {
        Ok(found) => found,
        Err(why) => return json!({ "how": "none", "unavailable": why }),
    };
    let mut entry = if series[0].def.metric_type == MetricType::Counter {
        let mut entry = json!({});
        if series.iter().any(|s| alternates(&s.values)) {
            insert_rise(&mut entry, &[]);
            entry["unavailable"] = Value::from("several processes answer its URL in turn");
        } else {
            insert_rise(&mut entry, &view.windows(series, None).0);
        }
        entry
    } else {
        gauges(series, combine)
    };
    entry["how"] = Value::from(how);
    entry["of_series"] = Value::from(series.len());
    entry
}

fn gauges(series: &[&SeriesData], how: Combine) -> Value {
    let points = query::points_of(series);
    let (times, values) = align::combine(&points, how);
    json!(Stats::of_gauge(&times, &values, align::longest_step_of(&points)))
}

/// A histogram family: every histogram of it, and all combined.
pub(super) fn histograms(view: &View<'_>, members: &[&Histogram]) -> Value {
    let Some(first) = members.first() else {
        return Value::Null;
    };
    let entries: Vec<Value> = members
        .iter()
        .map(|h| {
            let estimator = Estimator::learn(&h.bounds, &h.intervals());
            let mut entry = h.whole().map_or_else(
                || json!({ "count": Value::Null }),
                |whole| observed(&h.bounds, &estimator, &whole),
            );
            entry["scrapes"] = Value::from(h.timestamps_ns.len());
            entry["labels"] = labels_value(&h.labels);
            if !h.origin.endpoint_url.is_empty() {
                entry["endpoint_url"] = Value::from(&*h.origin.endpoint_url);
            }
            entry
        })
        .collect();
    json!({
        "type": "histogram",
        "unit": query::unit_of_family(first),
        "source": &*first.origin.source,
        "series": entries,
        "aggregate": together(view, members),
    })
}

/// The total observations of several histograms.
pub(super) fn together(view: &View<'_>, members: &[&Histogram]) -> Value {
    // Only the totals are used, not the windows.
    let (merged, _) = view.merged(members, 1);
    let (Some(whole), Some(estimator)) = (&merged.whole, &merged.estimator) else {
        return json!({ "how": "none", "unavailable": "fewer than two scrapes" });
    };
    let mut entry = observed(&merged.bounds, estimator, whole);
    entry["how"] = Value::from("sum over series");
    entry["of_series"] = Value::from(members.len() - merged.left_out);
    if merged.left_out > 0 {
        entry["left_out_for_other_buckets"] = Value::from(merged.left_out);
    }
    entry
}

/// The observations of a histogram during the run. Count and mean are exact; estimates have `estimate` in
/// their name.
fn observed(bounds: &[f64], estimator: &Estimator, whole: &Interval) -> Value {
    let estimate = |q: f64| stats::number(estimator.quantile(whole, q));
    let percentiles: Map<String, Value> = PERCENTILES
        .iter()
        .map(|(q, name)| (format!("{name}_estimate"), estimate(*q)))
        .collect();
    let edge = |i: Option<usize>, upper: bool| {
        i.map(|i| {
            if upper {
                bounds[i]
            } else {
                quantile::lower_bound(bounds, i)
            }
        })
    };
    let (first, last) = (
        whole.counts.iter().position(|c| *c > 0.0),
        whole.counts.iter().rposition(|c| *c > 0.0),
    );
    json!({
        "count": stats::number(Some(whole.count)),
        "sum": stats::number(Some(whole.sum)),
        "mean": stats::number(whole.mean()),
        "std_estimate": stats::number(estimator.std(whole)),
        "min_at_least": stats::number(edge(first, false)),
        "max_at_most": stats::number(edge(last, true)),
        "median_estimate": estimate(0.5),
        "percentiles": percentiles,
        "reset": whole.reset,
    })
}

/// Derived series with names of their own: rates and ratios of the whole deployment, the engine's steps, GPUs
/// and KV cache, under one name for all sources.
pub(super) fn derived(view: &View<'_>) -> Value {
    let run = view.run;
    let mut out = Map::new();
    let quotients = totals::quotients(run)
        .into_iter()
        .chain(engine::quotients(view.analysis.histograms()));
    for Quotients { series, weights } in quotients {
        let stats = Stats::weighted(&series.values, &weights);
        push_derived(&mut out, &series, json!(stats));
    }
    let mut levels = names::gpu_utilization(run);
    levels.extend(names::gpu_memory_used(run));
    levels.extend(names::kv_cache_usage(run));
    levels.extend(engine::pressures(run));
    for series in levels {
        let stats = gauges(&[&series], Combine::Sum);
        push_derived(&mut out, &series, stats);
    }
    Value::Object(out)
}

fn push_derived(out: &mut Map<String, Value>, series: &SeriesData, stats: Value) {
    let entry = out
        .entry(series.def.metric_name.to_string())
        .or_insert_with(|| json!({ "unit": &*series.def.unit, "source": &*series.def.source, "series": [] }));
    if let Some(list) = entry["series"].as_array_mut() {
        list.push(with_identity(series, stats));
    }
}

/// Labels and endpoint of a series.
pub(super) fn with_identity(series: &SeriesData, mut entry: Value) -> Value {
    entry["labels"] = labels_value(&series.def.labels);
    if !series.def.endpoint_url.is_empty() {
        entry["endpoint_url"] = Value::from(&*series.def.endpoint_url);
    }
    entry
}
