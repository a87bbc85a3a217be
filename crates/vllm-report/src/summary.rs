//! The statistical summary of a run as strict JSON: per series, per metric, requests, phases, and what was missing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use vllm_metrics::derive::align::{self, Combine, Points};
use vllm_metrics::derive::estimate::Estimator;
use vllm_metrics::derive::goodput::{self, Limits};
use vllm_metrics::derive::histogram::{Histogram, Interval};
use vllm_metrics::derive::{CustomMetric, counter, custom, engine, join, names, quantile, totals};
use vllm_metrics::{MetricType, Outcome, RequestRow, RunData, SeriesData, Severity, TimeSource};

use crate::own_cost;
use crate::query::View;
use crate::stats::{self, PERCENTILES, Stats};

/// Version of the summary's shape; raised when a key changes its meaning or goes away.
pub const SCHEMA: &str = "vllm-metrics-summary/1";

/// Everything the summary says about a run.
pub(crate) fn of(view: &View<'_>, limits: Option<&Limits>) -> Value {
    let run = view.run;
    let frame = &view.frame;
    let told = Limits::of_manifest(&run.manifest);
    let limits = limits.or(told.as_ref());
    let records: usize = run.series.iter().map(|s| s.values.len()).sum();
    json!({
        "schema": SCHEMA,
        "stamp": run.manifest.stamp,
        "simulated": view.simulated,
        "facts": run.manifest.facts,
        "time_range": {
            "start": rfc3339(frame.start_ns),
            "end": rfc3339(frame.end_ns),
            "start_ns": frame.start_ns,
            "end_ns": frame.end_ns,
            "duration_secs": secs(frame.duration_ns()),
        },
        "total_records": records,
        "total_series": run.series.len(),
        "scrapes": frame.cadences.iter().map(|c| json!({
            "source": &*c.source,
            "endpoint_url": &*c.endpoint_url,
            "count": c.timestamps_ns.len(),
            "interval_secs": c.interval_ns().map(secs),
            "gaps": frame.gaps_of(&c.timestamps_ns).iter().map(|g| span(g.0, g.1)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "gaps": frame.gaps.iter().map(|g| span(g.0, g.1)).collect::<Vec<_>>(),
        "missing": missing(run),
        "event_counts": event_counts(run),
        "phases": frame.phases.iter().map(|p| {
            let mut entry = span(p.start_ns, p.end_ns);
            entry["name"] = Value::from(&*p.name);
            entry
        }).collect::<Vec<_>>(),
        "requests": requests(run),
        "goodput": limits.map(|limits| goodput_of(&run.requests, limits)),
        "totals": derived_totals(view),
        "custom_metrics": custom_metrics(run),
        "bucket_fitness": engine::bucket_fitness(&view.histograms).iter().map(|e| json!({
            "message": &*e.message,
            "details": labels_value(&e.attributes),
        })).collect::<Vec<_>>(),
        "energy": energy(run),
        "metrics": metrics(view, |s| &*s.def.source != "self"),
        "own_cost": own_cost::of(run),
        "collection_cost": metrics(view, |s| &*s.def.source == "self"),
        "notes": run.notes,
    })
}

/// Energy of the measured window with its error, or why there is none.
fn energy(run: &RunData) -> Value {
    match vllm_metrics::energy::report(run) {
        Ok(report) => report.to_json(),
        Err(why) => json!({ "unavailable": why.to_string() }),
    }
}

fn rfc3339(nanos: i64) -> Value {
    Timestamp::from_nanosecond(i128::from(nanos)).map_or(Value::Null, |t| Value::from(t.to_string()))
}

fn secs(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

fn span(start_ns: i64, end_ns: i64) -> Value {
    json!({ "start": rfc3339(start_ns), "end": rfc3339(end_ns), "duration_secs": secs(end_ns - start_ns) })
}

/// Of one kind of event the summary lists as many as this; `event_counts` tells how many there were.
const LISTED_PER_KIND: usize = 100;

/// How many events of each kind there are.
fn event_counts(run: &RunData) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for event in &run.events {
        *counts.entry(&*event.kind).or_default() += 1;
    }
    counts
}

/// Events that say that something is missing or went wrong, in time order; the first [`LISTED_PER_KIND`] of each kind.
fn missing(run: &RunData) -> Vec<Value> {
    let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
    run.events
        .iter()
        .filter(|e| e.severity >= Severity::Warning)
        .filter(|e| {
            let listed = listed.entry(&*e.kind).or_default();
            *listed += 1;
            *listed <= LISTED_PER_KIND
        })
        .map(|e| {
            json!({
                "kind": &*e.kind,
                "severity": e.severity.as_str(),
                "source": &*e.source,
                "start": rfc3339(e.timestamp_ns),
                "end": e.end_ns.map_or(Value::Null, rfc3339),
                "message": &*e.message,
            })
        })
        .collect()
}

/// Client-side times of the requests; exact, since every one is known. Null where no request row is.
fn requests(run: &RunData) -> Value {
    let rows = &run.requests[..];
    if rows.is_empty() {
        return Value::Null;
    }
    let count = |outcome: Outcome| rows.iter().filter(|r| r.outcome == outcome).count();
    let done: Vec<&RequestRow> = rows.iter().filter(|r| r.outcome == Outcome::Completed).collect();
    let seconds = |of: &dyn Fn(&RequestRow) -> Option<f64>| {
        Stats::of(&done.iter().filter_map(|r| of(r)).collect::<Vec<_>>())
    };
    // A sum over rows of which none tells is not 0.
    let tokens = |of: &dyn Fn(&RequestRow) -> Option<u32>| -> Option<u64> {
        done.iter()
            .filter_map(|r| of(r))
            .map(u64::from)
            .reduce(|sum, count| sum + count)
    };
    json!({
        "count": rows.len(),
        "completed": count(Outcome::Completed),
        "failed": count(Outcome::Failed),
        "unfinished": count(Outcome::Unfinished),
        "prompt_tokens": tokens(&|r| r.prompt_tokens),
        "output_tokens": tokens(&|r| r.output_tokens),
        "definitions": {
            "time_to_first_token_seconds": "sent to first token",
            "time_per_output_token_seconds": "(done - first token) / (output tokens - 1)",
            "request_latency_seconds": "sent to done",
            "client_queue_seconds": "issued to sent",
        },
        "time_to_first_token_seconds": seconds(&goodput::ttft_secs),
        "time_per_output_token_seconds": seconds(&goodput::tpot_secs),
        "request_latency_seconds": seconds(&goodput::e2e_secs),
        "client_queue_seconds": seconds(&|r| r.sent_ns.map(|t| secs(t - r.issued_ns))),
        "server_times": server_times(run),
    })
}

/// The server's share of the requests' times: as it told them itself, and as estimated where it told nothing.
fn server_times(run: &RunData) -> Value {
    let joined = join::server_times(run);
    let of = |source: TimeSource, ending: &str| {
        let rows = || {
            joined
                .requests
                .iter()
                .filter(move |r| r.server_time_source == Some(source))
        };
        let stats = |of: &dyn Fn(&RequestRow) -> Option<f64>| {
            json!(Stats::of(&rows().filter_map(of).collect::<Vec<_>>()))
        };
        let mut entry = Map::new();
        entry.insert("count".into(), Value::from(rows().count()));
        entry.insert(
            format!("queue_seconds{ending}"),
            stats(&|r| r.server_queue_ns.map(secs)),
        );
        entry.insert(
            format!("prefill_seconds{ending}"),
            stats(&|r| r.server_prefill_ns.map(secs)),
        );
        entry.insert(
            format!("decode_seconds{ending}"),
            stats(&|r| r.server_decode_ns.map(secs)),
        );
        entry.insert(
            format!("outside_engine_seconds{ending}"),
            stats(&join::outside_engine_secs),
        );
        Value::Object(entry)
    };
    json!({
        "told": of(TimeSource::Server, ""),
        "estimated": of(TimeSource::Estimate, "_estimate"),
        "unknown": joined.unknown,
        "several_servers": joined.several_servers,
        "definitions": {
            "prefill_seconds": "scheduled to first token, inside the engine",
            "outside_engine_seconds": "client's sent to done, less queue, prefill and decode: network, HTTP, tokenizer",
        },
    })
}

/// The user's own metrics, or why this run has no series for one.
fn custom_metrics(run: &RunData) -> Value {
    let mut out = Map::new();
    for metric in CustomMetric::of_manifest(&run.manifest) {
        let (series, events) = custom::evaluate(run, std::slice::from_ref(&metric));
        let mut entry = match events.first() {
            Some(why) => json!({ "unavailable": &*why.message }),
            None => json!({
                "unit": metric.unit,
                "series": series
                    .iter()
                    .map(|s| with_identity(s, json!(Stats::of(&s.values))))
                    .collect::<Vec<_>>(),
            }),
        };
        entry["expression"] = Value::from(metric.expression.to_string());
        out.insert(metric.name, entry);
    }
    Value::Object(out)
}

fn goodput_of(rows: &[RequestRow], limits: &Limits) -> Value {
    let got = goodput::count(rows, limits);
    json!({
        "limits": {
            "ttft_secs": limits.ttft_secs,
            "tpot_secs": limits.tpot_secs,
            "e2e_secs": limits.e2e_secs,
        },
        "requests": got.requests,
        "good": got.good,
        "duration_secs": got.duration_secs,
        "requests_per_second": stats::number(got.per_second()),
        "ratio": stats::number(got.ratio()),
    })
}

/// Series that are published under names of their own.
fn derived_totals(view: &View<'_>) -> Value {
    let run = view.run;
    let mut derived = Vec::new();
    names::append(run, &[], &mut derived);
    totals::append(run, &mut derived);
    engine::append(run, &view.histograms, &mut derived);
    let mut out = Map::new();
    for series in derived.iter().filter(|s| s.def.metric_type == MetricType::Gauge) {
        let entry = out.entry(series.def.metric_name.to_string()).or_insert_with(
            || json!({ "unit": &*series.def.unit, "source": &*series.def.source, "series": [] }),
        );
        if let Some(list) = entry["series"].as_array_mut() {
            list.push(with_identity(series, json!(Stats::of(&series.values))));
        }
    }
    Value::Object(out)
}

fn labels_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn with_identity(series: &SeriesData, mut entry: Value) -> Value {
    entry["labels"] = labels_value(&series.def.labels);
    if !series.def.endpoint_url.is_empty() {
        entry["endpoint_url"] = Value::from(&*series.def.endpoint_url);
    }
    entry
}

/// Every metric by name, histograms by family.
fn metrics(view: &View<'_>, wanted: impl Fn(&SeriesData) -> bool) -> Value {
    let mut by_name: BTreeMap<&str, Vec<&SeriesData>> = BTreeMap::new();
    let mut out = Map::new();
    let families: std::collections::HashSet<&str> = view.histograms.iter().map(|h| h.name.as_str()).collect();
    for series in view.run.series.iter().filter(|s| wanted(s)) {
        let name = &*series.def.metric_name;
        if series.def.metric_type == MetricType::Histogram {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|e| name.strip_suffix(e))
                .unwrap_or(name);
            if families.contains(family) {
                if !out.contains_key(family) {
                    out.insert(family.to_owned(), histogram(family, view, series));
                }
                continue;
            }
        }
        by_name.entry(name).or_default().push(series);
    }
    for (name, series) in by_name {
        let counter = series[0].def.metric_type == MetricType::Counter;
        let entries: Vec<Value> = series
            .iter()
            .map(|s| {
                with_identity(
                    s,
                    if counter {
                        count_up(s)
                    } else {
                        json!(Stats::of(&s.values))
                    },
                )
            })
            .collect();
        let mut entry = json!({
            "type": series[0].def.metric_type.as_str(),
            "unit": &*series[0].def.unit,
            "source": &*series[0].def.source,
            "series": entries,
        });
        if series.len() > 1 {
            entry["aggregate"] = aggregate(name, &series, counter);
        }
        out.insert(name.to_owned(), entry);
    }
    Value::Object(out)
}

/// A counter: how much it rose and how fast, never statistics of its height.
fn count_up(series: &SeriesData) -> Value {
    let steps = counter::steps(&series.timestamps_ns, &series.values);
    let rates: Vec<f64> = steps.iter().filter_map(counter::Step::per_second).collect();
    let increase: f64 = steps.iter().map(|s| s.increase).sum();
    let observed: i64 = steps.iter().map(|s| s.end_ns - s.start_ns).sum();
    json!({
        "samples": series.values.len(),
        "first": stats::number(series.values.first().copied()),
        "last": stats::number(series.values.last().copied()),
        "increase": if steps.is_empty() { Value::Null } else { stats::number(Some(increase)) },
        "resets": steps.iter().filter(|s| s.reset).count(),
        "mean_per_second": if observed > 0 { stats::number(Some(increase / secs(observed))) } else { Value::Null },
        "per_second": Stats::of(&rates),
    })
}

/// All label sets of a metric as one series: added up, or averaged where a sum means nothing.
fn aggregate(name: &str, series: &[&SeriesData], counter: bool) -> Value {
    let averaged =
        !counter && (&*series[0].def.unit == "ratio" || name.ends_with("_perc") || name.ends_with("_ratio"));
    let how = if averaged { Combine::Mean } else { Combine::Sum };
    let mut entry = if counter {
        let (_, rates) = totals::rate_of(series.iter().copied());
        let increase: f64 = series
            .iter()
            .flat_map(|s| counter::steps(&s.timestamps_ns, &s.values))
            .map(|s| s.increase)
            .sum();
        json!({ "increase": stats::number(Some(increase)), "per_second": Stats::of(&rates) })
    } else {
        let points: Vec<Points<'_>> = series
            .iter()
            .map(|s| (&s.timestamps_ns[..], &s.values[..]))
            .collect();
        json!(Stats::of(&align::combine(&points, how).1))
    };
    entry["how"] = Value::from(if averaged {
        "mean over series"
    } else {
        "sum over series"
    });
    entry
}

fn histogram(family: &str, view: &View<'_>, sample: &SeriesData) -> Value {
    let members = view.family(family);
    let entries: Vec<Value> = members
        .iter()
        .map(|h| {
            let mut entry = h
                .whole()
                .map_or_else(|| json!({ "count": Value::Null }), |w| observed(h, &w));
            entry["labels"] = labels_value(&h.labels);
            if !h.origin.endpoint_url.is_empty() {
                entry["endpoint_url"] = Value::from(&*h.origin.endpoint_url);
            }
            entry
        })
        .collect();
    json!({
        "type": "histogram",
        "unit": &*sample.def.unit,
        "source": &*sample.def.source,
        "series": entries,
    })
}

/// What a histogram observed during the run. Count and mean are exact; whatever is estimated says so in its name.
fn observed(histogram: &Histogram, whole: &Interval) -> Value {
    let estimator = Estimator::learn(&histogram.bounds, &histogram.intervals());
    let estimate = |q: f64| stats::number(estimator.quantile(whole, q));
    let percentiles: Map<String, Value> = PERCENTILES
        .iter()
        .map(|(q, name)| (format!("{name}_estimate"), estimate(*q)))
        .collect();
    let edge = |i: Option<usize>, upper: bool| {
        i.map(|i| {
            if upper {
                histogram.bounds[i]
            } else {
                quantile::lower_bound(&histogram.bounds, i)
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
        "scrapes": histogram.timestamps_ns.len(),
        "reset": whole.reset,
    })
}
