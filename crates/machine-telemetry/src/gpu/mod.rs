//! Samples GPUs through NVIDIA's management library on a separate thread.
//!
//! Cheap, changing values are read at every tick (utilisation, memory, power, energy, clocks, throttle
//! reasons, temperature). Error counters and throttle times are read in one batched call every few seconds,
//! constants once. XID and ECC events arrive immediately through the driver's event set. Each kind of call is
//! timed, and the times are series of the run.
//!
//! All samples of one GPU at one tick have the time before its first call; the batch also stores the time
//! after its last. An unreadable value is a missing row with an event, never a zero.
//!
//! ```no_run
//! use machine_telemetry::gpu::{GpuConfig, GpuSampler};
//! # fn sink() -> Box<dyn run_model::SampleSink> { unimplemented!() }
//! let stop = run_model::StopToken::new();
//! let sampler = GpuSampler::start(GpuConfig::default(), sink(), stop.clone())?;
//! // … the run …
//! stop.stop();
//! for cost in sampler.join().calls {
//!     eprintln!("{}: p99 {:?}", cost.call, cost.p99);
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

mod calls;
mod condition;
mod cost;
mod device;
mod facts;
mod faults;
mod output;
mod reading;
mod sampler;
mod self_cost;
mod series;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use cost::CallCost;
pub use device::GpuIdentity;

pub use crate::xid;

use run_model::{SampleSink, StopToken};

/// Selects GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GpuSelection {
    /// All GPUs that the driver reports.
    #[default]
    All,
    /// By NVML index, which may differ from CUDA's.
    Indices(Vec<u32>),
    /// By UUID (`GPU-…`).
    Uuids(Vec<String>),
    /// GPUs used by this process or its descendants. All are sampled until one is found.
    ServerProcess(u32),
}

/// Sampler settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuConfig {
    /// Driver library to load; `None` for the driver's own.
    pub library: Option<PathBuf>,
    /// Whether the library is a fake; recorded in every series and event.
    pub simulated: bool,
    /// Time between ticks; below a second, check the measured cost per call.
    pub interval: Duration,
    /// Time between readings of error counters, throttle times and limits.
    pub slow_interval: Duration,
    /// Time between readings of the processes on each GPU, the most expensive call.
    pub process_interval: Duration,
    /// Selected GPUs.
    pub selection: GpuSelection,
    /// The server's process, to measure its GPU memory. Implied by [`GpuSelection::ServerProcess`].
    pub server_pid: Option<u32>,
}

impl Default for GpuConfig {
    /// The driver's library, all GPUs, 1 s, 10 s, 30 s.
    fn default() -> Self {
        Self {
            library: None,
            simulated: false,
            interval: Duration::from_secs(1),
            slow_interval: Duration::from_secs(10),
            process_interval: Duration::from_secs(30),
            selection: GpuSelection::All,
            server_pid: None,
        }
    }
}

impl GpuConfig {
    fn source(&self) -> Arc<str> {
        if self.simulated { "nvml-simulated" } else { "nvml" }.into()
    }
}

/// Summary of the sampler.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct GpuSummary {
    /// The GPUs sampled at the end.
    pub gpus: Vec<GpuIdentity>,
    /// Why there were none, if so.
    pub unavailable: Option<String>,
    /// Per GPU (by index) the unsupported series.
    pub not_supported: Vec<(u32, Vec<String>)>,
    /// Cost per kind of call.
    pub calls: Vec<CallCost>,
    /// Number of ticks at which the GPUs were read.
    pub ticks: u64,
    /// Number of ticks that passed while an earlier one was still running.
    pub missed_ticks: u64,
    /// Readings that failed and were retried.
    pub read_errors: u64,
    /// CPU time of the sampler's thread (excluding the fault thread, which mostly sleeps).
    pub cpu_time: Duration,
    /// Wall time from first to last tick.
    pub lived: Duration,
}

/// Samples on the caller's thread until `stop`, at [`GpuConfig::interval`], and returns what that did and cost. A
/// second thread waits for XID and ECC events; it ends before this returns.
///
/// It never fails. Without a driver, or if no selected GPU can be opened, it returns immediately: after a
/// `gpu_unavailable` event, and with the reason in [`GpuSummary::unavailable`]. A GPU that is lost later is an
/// event, and the others go on.
///
/// Driver calls block, so this must never run on an async runtime's thread. [`GpuSampler`] runs it on a thread of
/// its own.
pub fn run(config: &GpuConfig, sink: &mut dyn SampleSink, stop: &StopToken) -> GpuSummary {
    sampler::run(config, sink, stop)
}

/// A running sampler.
#[derive(Debug)]
pub struct GpuSampler {
    thread: JoinHandle<GpuSummary>,
}

impl GpuSampler {
    /// Starts the thread. Returns immediately, since the driver library is loaded on the thread; without a
    /// library the thread writes one `gpu_unavailable` event and ends.
    ///
    /// # Errors
    ///
    /// If no thread could be started.
    pub fn start(config: GpuConfig, mut sink: Box<dyn SampleSink>, stop: StopToken) -> io::Result<Self> {
        let builder = std::thread::Builder::new().name("gpu-sampler".to_owned());
        let thread = builder.spawn(move || sampler::run(&config, sink.as_mut(), &stop))?;
        Ok(Self { thread })
    }

    /// Waits for the thread, which ends soon after its token is stopped: after the current driver call.
    pub fn join(self) -> GpuSummary {
        self.thread.join().unwrap_or_else(|_| GpuSummary {
            unavailable: Some("the GPU sampler panicked".to_owned()),
            ..GpuSummary::default()
        })
    }
}
