//! Records metrics of a vLLM server, its GPUs, its host and the load-generating harness on one clock, as one
//! compact record per run.
//!
//! A [`Session`] records one run: it scrapes endpoints on a fixed schedule, samples GPUs and the host,
//! accepts [`Hooks`] calls of the harness, and writes samples, requests, batches and events on its own
//! thread.
//!
//! ```no_run
//! use std::time::Duration;
//! use vllm_metrics::{Completed, EndpointConfig, Session};
//!
//! let session = Session::builder()
//!     .endpoint(EndpointConfig::new("http://localhost:8000"))
//!     .interval(Duration::from_millis(500))
//!     .output_dir("metrics_output")
//!     .start()?;
//! let hooks = session.hooks();
//! hooks.model_loaded();
//! session.scrape_now(session.longest_timeout()); // counters start exactly here
//! hooks.phase("performance");
//! hooks.request_issued(1, 0, None, None); // from any thread; never blocks, never fails
//! hooks.first_token(1);
//! hooks.request_completed(1, Completed::tokens(128));
//! hooks.test_completed();
//! let run = session.finish()?;
//! println!("{} (missing: {:?})", run.samples_path.display(), run.missing);
//! # Ok::<(), vllm_metrics::Error>(())
//! ```
//!
//! An absent, slow or failing data source never delays or ends the run. Everything missing, dropped or late
//! is counted in [`FinishedRun`] and recorded as an event with its time. The crate is independent of MLPerf
//! and does not judge a run.
//!
//! A session can be started in three ways: [`SessionBuilder::start`] creates a thread for it,
//! [`SessionBuilder::spawn_on`] uses an existing runtime's handle, and [`SessionBuilder::start_with_driver`]
//! returns a future to spawn. `examples/foreign_harness.rs` is a complete harness; the package
//! `vllm-metrics-c` is the same API for C and C++.

//! # Features
//!
//! | feature | what it adds | default |
//! |---|---|---|
//! | `http` | scraping, the session's own endpoint, push receivers | yes |
//! | `nvml` | the GPU sampler | yes |
//! | `parquet`, `sqlite` | file formats; CSV, JSON and Prometheus text are always there | yes |
//! | `analysis` | derived series at the end of a run | yes |
//! | `expressions` | metrics that users define | yes |
//! | `tls` | `https` endpoints | no |
//! | `upload` | copies of finished files in an object store | no |

// Configuration and pages are read in either build; what only a scrape needs of them is idle without HTTP.
#![cfg_attr(not(feature = "http"), allow(dead_code, reason = "used by scrapes"))]

mod collector;
pub mod config;
#[cfg(feature = "http")]
mod export;
pub mod hooks;
pub mod push;
pub mod recorder;
mod scrape;
pub mod select;
pub mod session;

pub use machine_telemetry::host;
pub use run_analysis::{derive, energy, view};
pub use run_model::{catalog, clock, error, event, labels, model, saw_tooth, sink};

/// GPUs: the sampler (feature `nvml`), and the meaning of the driver's XID errors.
pub mod gpu {
    #[cfg(feature = "nvml")]
    pub use machine_telemetry::gpu::*;
    pub use machine_telemetry::xid;
}

/// Reading and writing runs on disk, and network receivers for samples.
pub mod store {
    #[cfg(feature = "http")]
    pub use crate::push as send;
    pub use run_store::*;
}

pub use collector::{EndpointReport, Gap};
pub use config::{EndpointConfig, PARTIAL_NAMES, SessionConfig};
pub use hooks::{Completed, Hooks, Reason, ServerTimes};
pub use recorder::{Dropped, Filter, LatestSample, Recorder, Subscription};
pub use run_model::{
    BatchRow, EngineRequestRow, Error, EventKind, EventRow, HelpTexts, Manifest, MetricType, Outcome, Record,
    RequestRow, Result, RunClock, RunData, Sample, SampleBatch, SampleSink, SeriesData, SeriesDef, SeriesId,
    Severity, ShownUrl, StepRow, StopToken, TimeSource,
};
pub use run_store::{MemoryStore, Store, StoreFiles, StoreFormat, StoreOptions, read_run};
#[cfg(feature = "http")]
pub use scrape::{EndpointCheck, check_endpoint, validate_endpoint};
pub use scrape::{PageIngest, ScrapeError};
pub use select::{SelectionConfig, Selector};
pub use session::{FinishedRun, Missing, OwnCost, Sent, Session, SessionBuilder, SessionDriver};
