//! Samplers of the machine that a run goes on, each on a thread of its own, each writing to a
//! [`SampleSink`](run_model::SampleSink).
//!
//! - `gpu`: NVIDIA GPUs (feature `nvml`, on by default).
//! - [`host`]: CPU, memory, disks, network and processes, from `/proc` and `/sys`.
//! - [`xid`]: what the driver's XID errors mean.

#[cfg(feature = "nvml")]
pub mod gpu;
pub mod host;
pub mod xid;
