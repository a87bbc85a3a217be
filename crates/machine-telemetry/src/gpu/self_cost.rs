//! The sampler's own cost as series: time per call, time per tick, CPU time, missed ticks.

use std::time::Duration;

use super::cost::CallCost;
use super::output::Output;
use run_model::SampleSink;
use run_model::schedule::thread_cpu_time;
use run_model::{MetricType, Sample, SampleBatch, SeriesDef, SeriesId};

/// The sampler's own series.
pub(crate) struct SelfCost {
    tick_seconds: SeriesId,
    cpu_seconds: SeriesId,
    missed_ticks: SeriesId,
    read_errors: SeriesId,
    ticks: u64,
    longest: Duration,
    calls: Vec<(&'static str, [SeriesId; 4])>,
    simulated: bool,
}

impl SelfCost {
    pub(crate) fn new(simulated: bool, sink: &mut dyn SampleSink) -> Self {
        let mut series = |name: &str, metric_type, unit: &str| {
            sink.intern(definition(name, "{}".to_owned(), metric_type, unit, simulated))
        };
        Self {
            tick_seconds: series("gpu_sampler_longest_tick_seconds", MetricType::Gauge, "seconds"),
            cpu_seconds: series("gpu_sampler_cpu_seconds_total", MetricType::Counter, "seconds"),
            missed_ticks: series("gpu_sampler_missed_ticks_total", MetricType::Counter, "ticks"),
            read_errors: series("gpu_sampler_read_errors_total", MetricType::Counter, "errors"),
            ticks: 0,
            longest: Duration::ZERO,
            calls: Vec::new(),
            simulated,
        }
    }

    pub(crate) fn tick(&mut self, took: Duration) {
        self.ticks += 1;
        self.longest = self.longest.max(took);
    }

    pub(crate) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Publishes the cost so far; the longest tick is that since the previous call.
    pub(crate) fn tell(&mut self, output: &mut Output<'_>, missed_ticks: u64) {
        let now = output.sink.now_ns();
        let sample = |series, value| Sample {
            series,
            timestamp_ns: now,
            value,
        };
        let mut samples = vec![
            sample(self.tick_seconds, std::mem::take(&mut self.longest).as_secs_f64()),
            sample(self.cpu_seconds, thread_cpu_time().as_secs_f64()),
            sample(self.missed_ticks, missed_ticks as f64),
            sample(self.read_errors, output.read_errors as f64),
        ];
        let costs: Vec<CallCost> = output.costs.summaries().collect();
        for cost in costs {
            let [p50, p99, count, sum] = self.call_series(cost.call, output.sink);
            samples.push(sample(p50, cost.p50.as_secs_f64()));
            samples.push(sample(p99, cost.p99.as_secs_f64()));
            samples.push(sample(count, cost.count as f64));
            samples.push(sample(sum, cost.total.as_secs_f64()));
        }
        output.sink.samples(SampleBatch {
            start_ns: now,
            end_ns: now,
            samples,
            ..SampleBatch::default()
        });
    }

    fn call_series(&mut self, call: &'static str, sink: &mut dyn SampleSink) -> [SeriesId; 4] {
        if let Some((_, series)) = self.calls.iter().find(|(known, _)| *known == call) {
            return *series;
        }
        let mut series = |suffix: &str, quantile: Option<&str>, unit: &str| {
            let labels = match quantile {
                Some(quantile) => format!("{{\"call\":\"{call}\",\"quantile\":\"{quantile}\"}}"),
                None => format!("{{\"call\":\"{call}\"}}"),
            };
            let name = format!("gpu_sampler_call_seconds{suffix}");
            sink.intern(definition(
                &name,
                labels,
                MetricType::Summary,
                unit,
                self.simulated,
            ))
        };
        let made = [
            series("", Some("0.5"), "seconds"),
            series("", Some("0.99"), "seconds"),
            series("_count", None, "calls"),
            series("_sum", None, "seconds"),
        ];
        self.calls.push((call, made));
        made
    }
}

/// Marked as simulated for a fake library, whose cost does not apply to a real driver.
fn definition(name: &str, labels: String, metric_type: MetricType, unit: &str, simulated: bool) -> SeriesDef {
    SeriesDef {
        metric_name: name.into(),
        labels: labels.into(),
        metric_type,
        unit: unit.into(),
        source: if simulated { "self-simulated" } else { "self" }.into(),
        endpoint_url: "".into(),
    }
}
