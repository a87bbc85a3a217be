//! The GPUs at this moment, through the sampler of `vllm-metrics`: one reading, then it is stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use vllm_metrics::gpu::{GpuConfig, GpuSampler};
use vllm_metrics::{EventRow, RunClock, SampleBatch, SampleSink, SeriesDef, SeriesId, StopToken};
use vllm_monitor::preflight::GpuFacts;

/// Longest wait for the driver. Without persistence mode, loading it takes seconds.
const LONGEST: Duration = Duration::from_secs(20);

/// What the driver says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    pub(super) driver_version: Option<String>,
    pub(super) gpus: Vec<GpuFacts>,
}

#[derive(Debug, Default)]
struct Seen {
    series: Vec<(String, Value)>,
    ids: std::collections::HashMap<SeriesDef, SeriesId>,
    /// By name, with the label `kind` after a slash, and GPU.
    values: BTreeMap<(String, String), f64>,
    events: Vec<(String, Value)>,
    is_unavailable: bool,
}

#[derive(Debug, Clone)]
struct Collector {
    clock: RunClock,
    seen: Arc<Mutex<Seen>>,
    stop: StopToken,
}

impl Collector {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SampleSink for Collector {
    fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    fn intern(&mut self, def: SeriesDef) -> SeriesId {
        let mut seen = self.seen();
        if let Some(id) = seen.ids.get(&def) {
            return *id;
        }
        let id = SeriesId(u32::try_from(seen.series.len()).expect("a sampler has few series"));
        let labels = serde_json::from_str(&def.labels).unwrap_or_default();
        seen.series.push((def.metric_name.to_string(), labels));
        seen.ids.insert(def, id);
        id
    }

    fn samples(&mut self, batch: SampleBatch) {
        let mut seen = self.seen();
        for sample in &batch.samples {
            let Some((name, labels)) = seen.series.get(sample.series.0 as usize) else {
                continue;
            };
            let gpu = labels["gpu"].as_str().unwrap_or_default().to_owned();
            let kind = labels["kind"]
                .as_str()
                .map_or(String::new(), |kind| format!("/{kind}"));
            let key = (name.clone() + kind.as_str(), gpu);
            seen.values.insert(key, sample.value);
        }
        // The first tick has the memory in use; what came before were constants.
        if seen
            .values
            .keys()
            .any(|(name, _)| name == "gpu_memory_used_bytes")
        {
            self.stop.stop();
        }
    }

    fn event(&mut self, event: EventRow) {
        let attributes = serde_json::from_str(&event.attributes).unwrap_or_default();
        let mut seen = self.seen();
        seen.is_unavailable |= &*event.kind == "gpu_unavailable";
        seen.events.push((event.kind.to_string(), attributes));
    }

    fn fork(&self) -> Box<dyn SampleSink> {
        Box::new(self.clone())
    }
}

/// Reads the GPUs. `None` if the driver's library cannot be loaded although there is a driver; a machine without a
/// driver has no GPUs.
pub(super) fn read(library: Option<&Path>) -> Option<Found> {
    if library.is_none()
        && !Path::new("/proc/driver/nvidia").exists()
        && !Path::new("/dev/nvidiactl").exists()
    {
        return Some(Found::default());
    }
    let collector = Collector {
        clock: RunClock::start(),
        seen: Arc::default(),
        stop: StopToken::new(),
    };
    let config = GpuConfig {
        library: library.map(Path::to_owned),
        simulated: library.is_some(),
        interval: Duration::from_millis(100),
        ..GpuConfig::default()
    };
    let stop = collector.stop.clone();
    let seen = Arc::clone(&collector.seen);
    let sampler = GpuSampler::start(config, Box::new(collector), stop.clone()).ok()?;
    let is_over = || seen.lock().unwrap_or_else(PoisonError::into_inner).is_unavailable;
    let deadline = Instant::now() + LONGEST;
    while Instant::now() < deadline && !is_over() {
        if stop.wait_until((Instant::now() + Duration::from_millis(50)).min(deadline)) {
            break;
        }
    }
    let in_time = stop.is_stopped() || is_over();
    stop.stop();
    if in_time {
        sampler.join();
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    (in_time && !seen.is_unavailable).then(|| found(&seen))
}

fn found(seen: &Seen) -> Found {
    let mut driver_version = None;
    let mut gpus = Vec::new();
    for (_, attributes) in seen.events.iter().filter(|(kind, _)| kind == "gpu_found") {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let Some(index) = text(&attributes["gpu"]) else {
            continue;
        };
        let facts = &attributes["facts"];
        driver_version = driver_version.or_else(|| text(&facts["driver_version"]));
        let value = |name: &str| seen.values.get(&(name.to_owned(), index.clone())).copied();
        let total = value("gpu_memory_total_bytes").unwrap_or(0.0);
        let capability = facts["compute_capability"].as_str().and_then(|text| {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        gpus.push(GpuFacts {
            index: index.parse().unwrap_or(0),
            name: text(&attributes["name"]).unwrap_or_default(),
            total_bytes: total,
            free_bytes: total - value("gpu_memory_used_bytes").unwrap_or(0.0),
            compute_capability: capability,
            remap_pending: value("gpu_row_remap_pending").map(|pending| pending > 0.0),
            uncorrected_errors: value("gpu_ecc_errors_total/uncorrected").map(|errors| errors as u64),
            processes: Vec::new(),
        });
    }
    gpus.sort_by_key(|gpu| gpu.index);
    Found { driver_version, gpus }
}
