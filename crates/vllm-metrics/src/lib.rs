//! Watch a vLLM server, its GPUs, its host and the harness itself on one clock, and keep one compact record of
//! the run.
//!
//! A [`Session`] records one run: it scrapes endpoints on a fixed schedule, samples GPUs and the host, takes the
//! harness's [`Hooks`], and writes samples, requests, batches and events by a thread of its own.
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
//! What it promises: nothing that is absent, slow, broken or gone half-way delays the run or ends it; whatever is
//! missing, dropped or late is counted in [`FinishedRun`] and stands in the run's events with its time. What it does
//! not: it knows nothing of MLPerf, and it does not judge a run.
//!
//! Three doors lead to a running session: [`SessionBuilder::start`] brings its own thread,
//! [`SessionBuilder::spawn_on`] uses a runtime's handle, [`SessionBuilder::start_with_driver`] hands out a future.
//! `examples/foreign_harness.rs` is a whole harness; the package `vllm-metrics-c` is the same for C and C++.

pub mod catalog;

pub mod clock;

mod collector;

pub mod config;

pub mod derive;

pub mod energy;

pub mod error;

mod export;

pub mod gpu;

pub mod hooks;

pub mod host;

pub mod model;

mod schedule;

mod shown_url;

pub mod labels;

pub mod recorder;

mod scrape;

pub mod select;

pub mod session;

pub mod sink;

pub mod store;

pub use clock::RunClock;

pub use collector::{EndpointReport, Gap};

pub use config::{EndpointConfig, PARTIAL_NAMES, SessionConfig};

pub use error::{Error, Result};

pub use hooks::{Completed, Hooks, Reason, ServerTimes};

pub use model::{
    BatchRow, EngineRequestRow, EventRow, Manifest, MetricType, Outcome, Record, RequestRow, RunData, Sample,
    SampleBatch, SeriesData, SeriesDef, SeriesId, Severity, StepRow, TimeSource,
};

pub use recorder::{Dropped, Filter, LatestSample, Recorder, Subscription};

pub use scrape::{EndpointCheck, PageIngest, ScrapeError, check_endpoint, validate_endpoint};

pub use shown_url::ShownUrl;

pub use select::{SelectionConfig, Selector};

pub use session::{FinishedRun, Missing, OwnCost, Sent, Session, SessionBuilder, SessionDriver};

pub use sink::{SampleSink, StopToken};

pub use store::{MemoryStore, Store, StoreFiles, StoreFormat, StoreOptions, read_run};
