//! The monitor inside vLLM's own process, and the recorder for Python.
//!
//! vLLM calls its stat loggers once per engine step. This crate takes what such a call says, in well under the time of
//! a step, and leaves everything else to a thread of its own:
//!
//! ```text
//!  vLLM's event loop                        thread `vllm-monitor`
//!  record() → words → single-producer ring  → steps, latencies, counters ─► once a second: snapshot → Monitor::step
//!  (never waits, never fails, no I/O)                    │                        └► status, Prometheus page, health
//!                                                        └► the record on disk, if an output folder was given
//! ```
//!
//! The modules here are plain Rust and are tested as such. The bindings in `python` are compiled with the feature
//! `extension-module` only, which `maturin` turns on.

pub mod acting;
mod error;
mod latency;
mod message;
mod page;
#[cfg(feature = "extension-module")]
mod python;
mod status;
mod tally;
mod watch;

pub use error::{Error, Result};
pub use latency::{Latencies, LatencySummary};
pub use message::{FinishReason, Finished, Scheduled, Step};
pub use status::{Counters, EngineStatus, PredictionStatus, Status};
pub use watch::{Call, Fault, Limits, Watch, WatchConfig};
