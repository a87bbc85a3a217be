//! A simulated server in virtual time: no sockets, no threads, no clock.
//!
//! [`VirtualServer`] is the same engine, admission and metrics page as [`Simulator`](crate::Simulator) has, but its
//! time moves only when the caller moves it. So a run of an hour takes seconds, nothing depends on how busy the machine
//! is, and the same configuration and the same calls give the same records and the same pages, byte by byte: a run
//! with an intervention and one without it differ in nothing but the intervention.
//!
//! Three levels, each built on the one before:
//!
//! - [`VirtualServer`]: submit requests, move time, read pages, set levers, pause, hang, kill. For a controller or a
//!   fault campaign that decides as it goes.
//! - [`run_with`]: a whole [`Workload`], with a callback at each scrape that may act on the server.
//! - [`run`]: the same without a callback.
//!
//! ```
//! use std::time::Duration;
//! use vllm_sim::virtual_time::{Arrivals, RunOptions, Workload, run};
//! use vllm_sim::{OutputLength, SimConfig};
//!
//! let workload = Workload {
//!     arrivals: Arrivals::Poisson { rate_per_s: 8.0 },
//!     requests: 100,
//!     prompt_tokens: OutputLength::Fixed(200),
//!     output_tokens: Some(OutputLength::Fixed(50)),
//!     ..Workload::default()
//! };
//! let run = run(&SimConfig::default(), &workload, &RunOptions::default())?;
//! assert_eq!(run.requests.len(), 100);
//! let first = &run.requests[0];
//! assert!(first.is_complete() && first.ttft() < Some(Duration::from_millis(50)));
//! # Ok::<(), vllm_sim::Error>(())
//! ```
//!
//! What a server in wall time has and this one has not: HTTP (the `http_*` families of the page have no samples),
//! process figures (absent, not 0), streaming intervals and fault rules. Faults are calls instead:
//! [`VirtualServer::set_hung`], [`VirtualServer::set_slow`], [`VirtualServer::kill_engines`],
//! [`VirtualServer::die`], [`VirtualServer::restart`].

mod record;
mod run;
mod server;
mod workload;

pub use record::{Outcome, RequestRecord};
pub use run::{RunOptions, VirtualRun, run, run_with};
pub use server::{EngineState, VirtualRequest, VirtualServer};
pub use workload::{Arrivals, Workload};

#[cfg(test)]
mod tests;
