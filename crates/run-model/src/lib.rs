//! What is recorded of one run, and what every part of the recorder agrees on. Data and rules only: nothing here
//! reads a server, writes a file or starts a thread.
//!
//! - [`model`]: series, samples, rows of requests, batches and events, and a whole run in memory ([`RunData`]).
//! - [`event`]: the kinds of events, with their severities.
//! - [`clock`]: the one clock of a run.
//! - [`sink`]: the interface that samplers write to.
//! - [`schedule`]: fixed ticks for sampler threads.
//! - [`catalog`]: the metrics that vLLM and exporters are known to have.
//! - [`labels`]: the label column.
//! - [`error`]: the error type of the recorder's crates.
//! - [`ShownUrl`]: what of a URL may be shown.

pub mod catalog;
pub mod clock;
pub mod error;
pub mod event;
pub mod labels;
pub mod model;
pub mod schedule;
mod shown_url;
pub mod sink;

pub use clock::RunClock;
pub use error::{Error, Result};
pub use event::EventKind;
pub use model::{
    BatchRow, ENDPOINTS_FACT, EngineRequestRow, EventRow, Manifest, MetricType, Outcome, Record, RequestRow,
    RunData, Sample, SampleBatch, SeriesData, SeriesDef, SeriesId, Severity, StepRow, TimeSource,
};
pub use shown_url::ShownUrl;
pub use sink::{SampleSink, StopToken};
