//! The GPU and host samplers of `vllm-metrics`, connected to a target.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use vllm_metrics::gpu::{GpuConfig, GpuSampler, GpuSelection};
use vllm_metrics::host::{HostConfig, HostSampler};
use vllm_metrics::{EventRow, RunClock, SampleBatch, SampleSink, SeriesDef, SeriesId, StopToken};
use vllm_monitor::Time;

/// Batches that wait for their target. A target that falls behind loses samples, which are counted.
const QUEUE: usize = 256;

/// One series of a sampler: its name and labels.
#[derive(Debug, PartialEq, Eq)]
pub struct SampledSeries {
    /// The name.
    pub name: Arc<str>,
    /// Names and values of its labels.
    pub labels: Vec<(String, String)>,
}

/// What a sampler reports.
#[derive(Debug)]
pub enum Sampled {
    /// Values that were read together.
    Values(Time, Vec<(Arc<SampledSeries>, f64)>),
    /// The driver no longer finds a GPU.
    GpuLost(String),
    /// Why there is nothing to read.
    Unavailable(String),
}

#[derive(Debug, Default)]
struct Table {
    ids: HashMap<SeriesDef, SeriesId>,
    series: Vec<Arc<SampledSeries>>,
}

/// Takes what samplers measured and passes it to one target.
#[derive(Debug, Clone)]
struct Sink {
    clock: RunClock,
    table: Arc<Mutex<Table>>,
    to: mpsc::Sender<Sampled>,
    lost: Arc<AtomicU64>,
}

impl Sink {
    fn send(&self, sampled: Sampled) {
        if self.to.try_send(sampled).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SampleSink for Sink {
    fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    fn intern(&mut self, def: SeriesDef) -> SeriesId {
        let mut table = self.table();
        if let Some(id) = table.ids.get(&def) {
            return *id;
        }
        let labels = match serde_json::from_str(&def.labels) {
            Ok(Value::Object(map)) => map
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(text) => (name, text),
                    other => (name, other.to_string()),
                })
                .collect(),
            _ => Vec::new(),
        };
        let id = SeriesId(u32::try_from(table.series.len()).expect("a sampler has few series"));
        table.series.push(Arc::new(SampledSeries {
            name: Arc::clone(&def.metric_name),
            labels,
        }));
        table.ids.insert(def, id);
        id
    }

    fn samples(&mut self, batch: SampleBatch) {
        let values = {
            let table = self.table();
            let value = |sample: &vllm_metrics::Sample| {
                let series = table.series.get(sample.series.0 as usize)?;
                Some((Arc::clone(series), sample.value))
            };
            batch.samples.iter().filter_map(value).collect()
        };
        self.send(Sampled::Values(Time::from_nanos(batch.start_ns), values));
    }

    fn event(&mut self, event: EventRow) {
        match &*event.kind {
            "gpu_lost" => {
                let attributes: Value = serde_json::from_str(&event.attributes).unwrap_or_default();
                if let Some(gpu) = attributes.get("gpu").and_then(Value::as_str) {
                    self.send(Sampled::GpuLost(gpu.to_owned()));
                }
            }
            "gpu_unavailable" => self.send(Sampled::Unavailable(event.message.to_string())),
            _ => {}
        }
    }

    fn fork(&self) -> Box<dyn SampleSink> {
        Box::new(self.clone())
    }
}

/// How to sample for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplerConfig {
    /// The server's first process.
    pub pid: u32,
    /// Time between readings.
    pub interval: Duration,
    /// Read GPUs.
    pub gpus: bool,
    /// Another driver library than the system's, such as a stand-in.
    pub nvml_library: Option<PathBuf>,
}

/// Samplers that run. Dropping them stops them.
#[derive(Debug)]
pub struct Samplers {
    stop: StopToken,
    lost: Arc<AtomicU64>,
}

impl Samplers {
    /// Starts a host sampler and, if wanted, a GPU sampler, each on a thread of its own.
    ///
    /// # Errors
    /// If the system grants no thread.
    pub fn start(config: &SamplerConfig, clock: &RunClock) -> io::Result<(Self, mpsc::Receiver<Sampled>)> {
        let (to, from) = mpsc::channel(QUEUE);
        let samplers = Self {
            stop: StopToken::new(),
            lost: Arc::default(),
        };
        let sink = Sink {
            clock: clock.clone(),
            table: Arc::default(),
            to,
            lost: Arc::clone(&samplers.lost),
        };
        let host = HostConfig {
            interval: config.interval,
            server_pid: Some(config.pid),
            ..HostConfig::default()
        };
        HostSampler::start(host, Box::new(sink.clone()), samplers.stop.clone())?;
        if config.gpus {
            let gpu = GpuConfig {
                simulated: config.nvml_library.is_some(),
                library: config.nvml_library.clone(),
                interval: config.interval,
                // A stand-in knows no process of ours.
                selection: if config.nvml_library.is_some() {
                    GpuSelection::All
                } else {
                    GpuSelection::ServerProcess(config.pid)
                },
                server_pid: Some(config.pid),
                ..GpuConfig::default()
            };
            GpuSampler::start(gpu, Box::new(sink), samplers.stop.clone())?;
        }
        Ok((samplers, from))
    }

    /// Batches that were lost because the target fell behind.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Samplers {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_host_of_a_process_is_read() {
        let config = SamplerConfig {
            pid: std::process::id(),
            interval: Duration::from_millis(50),
            gpus: false,
            nvml_library: None,
        };
        let (samplers, mut sampled) = Samplers::start(&config, &RunClock::start()).expect("threads");
        let mut seen = Vec::new();
        while !["host_memory_available_bytes", "host_process_resident_bytes"]
            .iter()
            .all(|name| seen.iter().any(|known| known == name))
        {
            let Some(Sampled::Values(_, values)) = sampled.recv().await else {
                continue;
            };
            seen.extend(values.iter().map(|(series, _)| series.name.to_string()));
        }
        drop(samplers);
        while sampled.recv().await.is_some() {}
    }
}
