//! The cost of recording as series: CPU time of the session's threads, hook calls, queue, drops, memory.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{OwnSeries, QueueMonitor, Recorder};
use run_model::schedule::thread_cpu_time;
use run_model::{MetricType, Sample, SampleBatch, SeriesId};

/// CPU time of one thread, as last measured by that thread.
#[derive(Debug, Default)]
pub(crate) struct ThreadCpu(AtomicU64);

impl ThreadCpu {
    /// Must be called on the thread to measure.
    pub(crate) fn update(&self) {
        let ns = u64::try_from(thread_cpu_time().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(ns, Ordering::Relaxed);
    }

    /// The last measurement; `None` before the first.
    pub(crate) fn get(&self) -> Option<Duration> {
        let ns = self.0.load(Ordering::Relaxed);
        (ns > 0).then(|| Duration::from_nanos(ns))
    }
}

/// CPU time of the session's own threads, if known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnCpu {
    pub(crate) collector: Option<Duration>,
    pub(crate) writer: Option<Duration>,
}

/// Cost and losses of hook calls so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HookFigures {
    pub(crate) p50_ns: Option<u32>,
    pub(crate) p99_ns: Option<u32>,
    pub(crate) dropped: u64,
}

/// The session's series about itself, sampled about once a second.
#[derive(Debug)]
pub(crate) struct SelfSampler {
    recorder: Recorder,
    collector_cpu: SeriesId,
    writer_cpu: SeriesId,
    hook_p50: SeriesId,
    hook_p99: SeriesId,
    queue: SeriesId,
    queue_peak: SeriesId,
    dropped_samples: SeriesId,
    dropped_rows: SeriesId,
    dropped_events: SeriesId,
    dropped_calls: SeriesId,
    resident: SeriesId,
}

impl SelfSampler {
    pub(crate) fn new(recorder: &Recorder) -> Self {
        let series = |name, metric_type, unit, label: Option<(&str, &str)>| {
            recorder.own_series(&OwnSeries {
                name,
                metric_type,
                unit,
                labels: label.as_slice(),
                endpoint_url: "",
            })
        };
        let cpu = |thread| {
            series(
                "vllm_metrics_cpu_seconds_total",
                MetricType::Counter,
                "seconds",
                Some(("thread", thread)),
            )
        };
        let hook = |quantile| {
            let label = Some(("quantile", quantile));
            series(
                "vllm_metrics_hook_duration_seconds",
                MetricType::Summary,
                "seconds",
                label,
            )
        };
        let dropped = |what| {
            series(
                "vllm_metrics_dropped_total",
                MetricType::Counter,
                "",
                Some(("what", what)),
            )
        };
        let bytes = |name| series(name, MetricType::Gauge, "bytes", None);
        Self {
            collector_cpu: cpu("collector"),
            writer_cpu: cpu("writer"),
            hook_p50: hook("0.5"),
            hook_p99: hook("0.99"),
            queue: bytes("vllm_metrics_queue_bytes"),
            queue_peak: bytes("vllm_metrics_queue_peak_bytes"),
            dropped_samples: dropped("samples"),
            dropped_rows: dropped("rows"),
            dropped_events: dropped("events"),
            dropped_calls: dropped("hook_calls"),
            resident: bytes("vllm_metrics_process_resident_bytes"),
            recorder: recorder.clone(),
        }
    }

    /// Samples once. Unknown values have no sample.
    pub(crate) fn sample(&self, queue: &QueueMonitor, cpu: OwnCpu, hooks: HookFigures) {
        let start_ns = self.recorder.now_ns();
        let dropped = queue.dropped();
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        let hook = |ns: Option<u32>| ns.map(|ns| f64::from(ns) / 1e9);
        let values = [
            (self.collector_cpu, seconds(cpu.collector)),
            (self.writer_cpu, seconds(cpu.writer)),
            (self.hook_p50, hook(hooks.p50_ns)),
            (self.hook_p99, hook(hooks.p99_ns)),
            (self.queue, Some(queue.held_bytes() as f64)),
            (self.queue_peak, Some(queue.high_water_bytes() as f64)),
            (self.dropped_samples, Some(dropped.samples as f64)),
            (self.dropped_rows, Some(dropped.rows as f64)),
            (self.dropped_events, Some(dropped.events as f64)),
            (self.dropped_calls, Some(hooks.dropped as f64)),
            (
                self.resident,
                Memory::read().resident_bytes.map(|bytes| bytes as f64),
            ),
        ];
        let samples = values
            .into_iter()
            .filter_map(|(series, value)| {
                value.map(|value| Sample {
                    series,
                    timestamp_ns: start_ns,
                    value,
                })
            })
            .collect();
        self.recorder.samples(SampleBatch {
            start_ns,
            end_ns: self.recorder.now_ns(),
            phase: Arc::default(),
            samples,
        });
    }
}

/// Memory of this process, harness and session together, which cannot be separated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) peak_resident_bytes: Option<u64>,
}

impl Memory {
    pub(crate) fn read() -> Self {
        // In one call: the system does not know the length of this file, so `read_to_string` takes eleven.
        let mut buffer = [0; 4096];
        let read = File::open("/proc/self/status").and_then(|mut file| file.read(&mut buffer));
        let status = String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]);
        let value = |key: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        Self {
            resident_bytes: value("VmRSS"),
            peak_resident_bytes: value("VmHWM"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_cpu_time_are_measured() {
        let memory = Memory::read();
        assert!(memory.peak_resident_bytes.unwrap() >= memory.resident_bytes.unwrap() / 2);
        let cpu = ThreadCpu::default();
        assert_eq!(cpu.get(), None);
        cpu.update();
        assert!(cpu.get().is_some());
    }
}
