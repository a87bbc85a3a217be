//! A simulated server in virtual time: no sockets, no threads, no clock.
//!
//! [`VirtualServer`] has the same engine, admission and metrics page as [`Simulator`](crate::Simulator), but
//! its time advances only by calls. So a run of an hour takes seconds, nothing depends on the load of the
//! machine, and the same configuration and calls give the same records and pages, byte by byte: a run with an
//! intervention and one without differ only by the intervention.
//!
//! Three levels, each built on the one before:
//!
//! - [`VirtualServer`]: submit requests, advance time, read pages, set levers, pause, hang, kill. For a
//!   controller or a fault campaign that decides along the way.
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
//! Not available, unlike on a server in wall time: HTTP (the `http_*` families of the page have no samples),
//! process figures (absent, not 0), streaming intervals and fault rules. Faults are method calls instead:
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
