//! Samples the host from `/proc` and `/sys`: CPU, memory, disks, network, pressure and limits.
//!
//! The server's process tree and our own process are sampled separately, so that a report can attribute
//! usage. Parsing is done by hand, because a dozen small files in fixed formats do not need a crate. An
//! absent file (another kernel, a container) is reported once, and its series do not exist.
//!
//! ```no_run
//! use machine_telemetry::host::{HostConfig, HostSampler};
//! # fn sink() -> Box<dyn run_model::SampleSink> { unimplemented!() }
//! let stop = run_model::StopToken::new();
//! let config = HostConfig { server_pid: Some(4711), ..HostConfig::default() };
//! let sampler = HostSampler::start(config, sink(), stop.clone())?;
//! // … the run …
//! stop.stop();
//! println!("{:?} of CPU time", sampler.join().cpu_time);
//! # Ok::<(), std::io::Error>(())
//! ```

mod cgroup;
mod cpu;
mod devices;
mod emit;
mod listener;
mod memory;
mod processes;
mod roles;
mod sampler;
mod tree;

use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

pub use listener::{ListenerUnavailable, listening_process};
pub use tree::process_tree;

use run_model::{SampleSink, StopToken};

/// Settings of the host sampler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Time between ticks.
    pub interval: Duration,
    /// Time between readings of slow or expensive values: the process tree, file descriptors, CPU frequency
    /// and governor, cgroup limits.
    pub slow_interval: Duration,
    /// The server's first process, if it runs on this host.
    pub server_pid: Option<u32>,
    /// Parent folder of `proc` and `sys`; `/` except in tests.
    pub root: PathBuf,
}

impl Default for HostConfig {
    /// 1 s, 10 s, no server.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            slow_interval: Duration::from_secs(10),
            server_pid: None,
            root: PathBuf::from("/"),
        }
    }
}

/// Summary of the host sampler.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct HostSummary {
    /// What could not be read on this host.
    pub absent: Vec<String>,
    /// Number of ticks on schedule.
    pub ticks: u64,
    /// Number of ticks that passed while an earlier one was still running.
    pub missed_ticks: u64,
    /// CPU time of the sampler's thread.
    pub cpu_time: Duration,
    /// Wall time from first to last tick.
    pub lived: Duration,
    /// Whether the thread panicked, in which case the rest is empty.
    pub panicked: bool,
}

/// Samples on the caller's thread until stopped. Reads files, so not for an async runtime's thread.
pub fn run(config: &HostConfig, sink: &mut dyn SampleSink, stop: &StopToken) -> HostSummary {
    sampler::run(config, sink, stop)
}

/// A running sampler.
#[derive(Debug)]
pub struct HostSampler {
    thread: JoinHandle<HostSummary>,
}

impl HostSampler {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If no thread could be started.
    pub fn start(config: HostConfig, mut sink: Box<dyn SampleSink>, stop: StopToken) -> io::Result<Self> {
        let builder = std::thread::Builder::new().name("host-sampler".to_owned());
        let thread = builder.spawn(move || sampler::run(&config, sink.as_mut(), &stop))?;
        Ok(Self { thread })
    }

    /// Waits for the thread, which ends soon after its stop token was stopped.
    pub fn join(self) -> HostSummary {
        self.thread.join().unwrap_or_else(|_| HostSummary {
            panicked: true,
            ..HostSummary::default()
        })
    }
}
