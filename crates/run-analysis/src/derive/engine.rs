//! Engine activity: steps, tokens per step, KV pressure, and whether buckets fit the observations.
//!
//! vLLM observes the tokens of every iteration in the histogram `vllm:iteration_tokens_total`: its count is
//! the number of engine steps, its sum the number of tokens processed.
//!
//! | name | meaning | unit |
//! |---|---|---|
//! | `vllm:engine_steps_per_second` | iterations that processed tokens | steps/second |
//! | `vllm:engine_tokens_per_step` | mean tokens of an iteration (exact) | tokens |
//! | `vllm:engine_step_seconds` | time per iteration while the engine was active, idle time included | seconds |
//! | `vllm:kv_pressure_ratio` | share of the KV cache in use, 1 while requests wait for capacity or are preempted | ratio |

use std::sync::Arc;

use super::histogram::Histogram;
use super::series::{Builder, Quotients, derived_source, phase_at};
use super::{counter, names};
use run_model::EventKind;
use run_model::labels;
use run_model::{EventRow, RunData, SeriesData, Severity};

/// The histogram of tokens per iteration.
pub const ITERATION_TOKENS: &str = "vllm:iteration_tokens_total";

/// Adds the series of the table above, per engine.
pub fn append(run: &RunData, histograms: &[Histogram], out: &mut Vec<SeriesData>) {
    out.extend(quotients(histograms).into_iter().map(|q| q.series));
    out.extend(pressures(run));
}

/// Steps and tokens of every engine with weights: seconds for steps per second, otherwise steps.
pub fn quotients(histograms: &[Histogram]) -> Vec<Quotients> {
    histograms
        .iter()
        .filter(|h| h.name == ITERATION_TOKENS)
        .flat_map(steps)
        .collect()
}

/// `vllm:kv_pressure_ratio` of every engine.
pub fn pressures(run: &RunData) -> Vec<SeriesData> {
    names::kv_cache_usage(run)
        .iter()
        .map(|kv| pressure(run, kv))
        .collect()
}

fn steps(histogram: &Histogram) -> [Quotients; 3] {
    let labels = labels::with(&histogram.labels, "derived_from", ITERATION_TOKENS);
    let gauge = |name, unit| Builder::gauge(name, Arc::clone(&labels), unit, &histogram.origin);
    let mut rate = gauge("vllm:engine_steps_per_second", "steps/second");
    let mut tokens = gauge("vllm:engine_tokens_per_step", "tokens");
    let mut seconds = gauge("vllm:engine_step_seconds", "seconds");
    let (mut elapsed_secs, mut counts) = (Vec::new(), Vec::new());
    for interval in histogram.intervals() {
        let phase = &histogram.phases[interval.index];
        let elapsed = (interval.end_ns - interval.start_ns) as f64 / 1e9;
        if elapsed <= 0.0 {
            continue;
        }
        rate.push(interval.end_ns, interval.count / elapsed, phase);
        elapsed_secs.push(elapsed);
        if let Some(mean) = interval.mean().filter(|mean| mean.is_finite()) {
            tokens.push(interval.end_ns, mean, phase);
            seconds.push(interval.end_ns, elapsed / interval.count, phase);
            counts.push(interval.count);
        }
    }
    [
        Quotients {
            series: rate.finish(),
            weights: elapsed_secs,
        },
        Quotients {
            series: tokens.finish(),
            weights: counts.clone(),
        },
        Quotients {
            series: seconds.finish(),
            weights: counts,
        },
    ]
}

/// KV usage of one engine, raised to 1 where that engine preempted since the previous scrape or keeps
/// requests waiting for capacity. Usage alone drops right after a preemption, when the pressure is highest.
fn pressure(run: &RunData, kv: &SeriesData) -> SeriesData {
    let mut labels = labels::parse(&kv.def.labels);
    let engine = labels.get("engine").cloned();
    let same = |s: &&SeriesData| {
        s.def.endpoint_url == kv.def.endpoint_url
            && labels::parse(&s.def.labels).get("engine").cloned() == engine
    };
    let mut pressed: Vec<i64> = Vec::new();
    for series in run
        .series
        .iter()
        .filter(|s| &*s.def.metric_name == "vllm:num_preemptions_total")
        .filter(same)
    {
        let steps = counter::steps(&series.timestamps_ns, &series.values);
        pressed.extend(steps.iter().filter(|s| s.increase > 0.0).map(|s| s.end_ns));
    }
    let waiting = run
        .series
        .iter()
        .filter(|s| &*s.def.metric_name == "vllm:num_requests_waiting_by_reason");
    for series in waiting
        .filter(same)
        .filter(|s| s.def.labels.contains(r#""reason":"capacity""#))
    {
        let some = series
            .timestamps_ns
            .iter()
            .zip(&series.values)
            .filter(|(_, v)| **v > 0.0);
        pressed.extend(some.map(|(t, _)| *t));
    }
    pressed.sort_unstable();
    labels.insert(
        "derived_from".into(),
        "vllm:kv_cache_usage_perc, vllm:num_preemptions_total".into(),
    );
    let mut out = Builder::gauge("vllm:kv_pressure_ratio", labels::write(&labels), "ratio", &kv.def);
    for (i, (&t, &value)) in kv.timestamps_ns.iter().zip(&kv.values).enumerate() {
        let value = if pressed.binary_search(&t).is_ok() {
            1.0
        } else {
            value
        };
        out.push(t, value, &phase_at(kv, i));
    }
    out.finish()
}

/// With more than this share of the observations in one bucket, the buckets are too coarse.
const CROWDED: f64 = 0.8;
/// With fewer observations than this, the buckets are not judged.
const ENOUGH: f64 = 50.0;

/// Warnings about time histograms whose buckets are too coarse for the observations, with suggested bounds.
pub fn bucket_fitness(histograms: &[Histogram]) -> Vec<EventRow> {
    histograms
        .iter()
        .filter(|h| h.name.ends_with("_seconds"))
        .filter_map(fitness)
        .collect()
}

fn fitness(histogram: &Histogram) -> Option<EventRow> {
    let whole = histogram.whole().filter(|w| w.count >= ENOUGH)?;
    let (fullest, count) = whole
        .counts
        .iter()
        .copied()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let share = count / whole.count;
    if share <= CROWDED {
        return None;
    }
    let low = super::quantile::lower_bound(&histogram.bounds, fullest);
    let high = histogram.bounds[fullest];
    let suggestion = suggested_bounds(low, high, whole.mean()?);
    let list: Vec<String> = suggestion.iter().map(ToString::to_string).collect();
    let name = &histogram.name;
    let attributes = serde_json::json!({
        "metric_name": name,
        "labels": &*histogram.labels,
        "share": share,
        "bucket_above": low,
        "bucket_up_to": if high.is_finite() { serde_json::json!(high) } else { serde_json::Value::Null },
        "suggested_bounds": suggestion,
    });
    let upper = if high.is_finite() {
        format!("{high} s")
    } else {
        "infinity".to_owned()
    };
    Some(EventRow {
        timestamp_ns: whole.end_ns,
        end_ns: None,
        kind: EventKind::BucketFitness,
        severity: Severity::Info,
        source: derived_source(&histogram.origin),
        message: Arc::from(format!(
            "{:.0} % of what {name} observed lies in one bucket ({low} s to {upper}), so its quantiles are coarse; \
             a server that supports --custom-histogram-buckets would resolve it with bounds near {}",
            share * 100.0,
            list.join(", "),
        )),
        attributes: Arc::from(attributes.to_string()),
    })
}

/// Eight bounds inside the bucket, denser for small values.
fn suggested_bounds(low: f64, high: f64, mean: f64) -> Vec<f64> {
    let from = if low > 0.0 {
        low
    } else {
        high.min(mean.max(1e-6)) / 10.0
    };
    let to = if high.is_finite() {
        high
    } else {
        mean.max(from) * 4.0
    };
    let ratio = (to / from).max(1.0 + 1e-9);
    let mut bounds: Vec<f64> = (1..=8)
        .map(|i| {
            let bound = from * ratio.powf(f64::from(i) / 8.0);
            // Three digits are enough for a manually entered bound.
            let scale = 10f64.powi(2 - bound.log10().floor() as i32);
            (bound * scale).round() / scale
        })
        .collect();
    bounds.dedup();
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggested_bounds_rise_inside_the_bucket() {
        let bounds = suggested_bounds(0.1, 0.25, 0.18);
        assert_eq!(bounds.len(), 8);
        assert!(bounds.windows(2).all(|w| w[0] < w[1]));
        assert!(bounds[0] > 0.1 && bounds[7] <= 0.25);
        assert!(suggested_bounds(0.0, 0.001, 0.0004)[0] > 0.0);
        assert!(suggested_bounds(2560.0, f64::INFINITY, 5000.0)[7] > 5000.0);
    }
}
