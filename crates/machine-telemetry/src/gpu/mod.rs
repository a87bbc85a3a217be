//! GPUs through NVIDIA's management library, read on a thread of its own.
//!
//! What is cheap and moves is read at every tick (utilisation, memory, power, energy, clocks, throttle reasons,
//! temperature); error counters and throttle times come in one batched call every few seconds; what never changes is
//! told once; XID and ECC events arrive through the driver's event set as they happen. Each kind of call is timed, and
//! the times are series of the run.
//!
//! All samples of one GPU at one tick bear the time before its first call; the batch also keeps the time after its
//! last. A value that cannot be read is a missing row with an event, never a zero.
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

/// Which GPUs to watch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GpuSelection {
    /// All that the driver shows.
    #[default]
    All,
    /// By NVML index, which need not be CUDA's.
    Indices(Vec<u32>),
    /// By UUID (`GPU-…`).
    Uuids(Vec<String>),
    /// Those on which this process or a descendant of it computes. All are watched until one is found.
    ServerProcess(u32),
}

/// How to sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuConfig {
    /// Driver library to load; `None` for the driver's own.
    pub library: Option<PathBuf>,
    /// The library is a fake: every series and event says so.
    pub simulated: bool,
    /// Time between ticks; below a second the measured cost per call is worth a look.
    pub interval: Duration,
    /// Time between readings of error counters, throttle times and limits.
    pub slow_interval: Duration,
    /// Time between looks at the processes on each GPU, which is the dearest call.
    pub process_interval: Duration,
    /// Which GPUs.
    pub selection: GpuSelection,
    /// The server's process, for the memory it takes. [`GpuSelection::ServerProcess`] implies it.
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

/// What the sampler has to say when it has stopped.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct GpuSummary {
    /// The GPUs that were watched at the end.
    pub gpus: Vec<GpuIdentity>,
    /// Why there were none, if there were none.
    pub unavailable: Option<String>,
    /// Per GPU (by index) the series that it does not have.
    pub not_supported: Vec<(u32, Vec<String>)>,
    /// Cost per kind of call.
    pub calls: Vec<CallCost>,
    /// Ticks that were kept.
    pub ticks: u64,
    /// Ticks that passed while an earlier one still ran.
    pub missed_ticks: u64,
    /// Readings that failed and were tried again.
    pub read_errors: u64,
    /// CPU time of the sampler's thread (that of the fault thread, which sleeps, is not in it).
    pub cpu_time: Duration,
    /// Wall time from first to last tick.
    pub lived: Duration,
}

/// Samples on the caller's thread until stopped; returns at once, with one `gpu_unavailable` event, when there is
/// nothing to sample. Driver calls block, so this must never run on an async runtime's thread.
pub fn run(config: &GpuConfig, sink: &mut dyn SampleSink, stop: &StopToken) -> GpuSummary {
    sampler::run(config, sink, stop)
}

/// A running sampler.
#[derive(Debug)]
pub struct GpuSampler {
    thread: JoinHandle<GpuSummary>,
}

impl GpuSampler {
    /// Starts the thread. Loading the driver library happens there, so this returns at once; without a library the
    /// thread leaves one `gpu_unavailable` event and ends.
    ///
    /// # Errors
    ///
    /// If no thread could be started.
    pub fn start(config: GpuConfig, mut sink: Box<dyn SampleSink>, stop: StopToken) -> io::Result<Self> {
        let builder = std::thread::Builder::new().name("gpu-sampler".to_owned());
        let thread = builder.spawn(move || sampler::run(&config, sink.as_mut(), &stop))?;
        Ok(Self { thread })
    }

    /// Waits for the thread, which ends soon after its stop token was stopped: after the driver call it is in.
    pub fn join(self) -> GpuSummary {
        self.thread.join().unwrap_or_else(|_| GpuSummary {
            unavailable: Some("the GPU sampler panicked".to_owned()),
            ..GpuSummary::default()
        })
    }
}
