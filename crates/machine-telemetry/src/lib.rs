//! Samplers of the machine, each on its own thread and writing to a [`SampleSink`](run_model::SampleSink).
//!
//! - `gpu`: NVIDIA GPUs (feature `nvml`, on by default).
//! - [`host`]: CPU, memory, disks, network and processes, from `/proc` and `/sys`.
//! - [`xid`]: the meaning of the driver's XID errors.

#[cfg(feature = "nvml")]
pub mod gpu;
pub mod host;
pub mod xid;
