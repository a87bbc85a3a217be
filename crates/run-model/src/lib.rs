//! The data model of a recorded run, shared by all parts of the recorder. Data and rules only: nothing here
//! accesses a server, writes a file or starts a thread.
//!
//! - [`model`]: series, samples, rows of requests, batches and events, and a whole run in memory
//!   ([`RunData`]).
//! - [`event`]: the kinds of events, with their severities.
//! - [`clock`]: the one clock of a run.
//! - [`sink`]: the interface that samplers write to.
//! - [`saw_tooth`]: counters of several processes behind one URL.
//! - [`schedule`]: fixed ticks for sampler threads.
//! - [`catalog`]: known metrics of vLLM and of exporters.
//! - [`help`]: what servers say about their metrics.
//! - [`labels`]: the label column.
//! - [`error`]: the error type of the recorder's crates.
//! - [`ShownUrl`]: URLs without secrets, for display.

pub mod catalog;
pub mod clock;
pub mod error;
pub mod event;
pub mod help;
pub mod labels;
pub mod model;
pub mod saw_tooth;
pub mod schedule;
mod shown_url;
pub mod sink;

pub use clock::RunClock;
pub use error::{Error, Result};
pub use event::EventKind;
pub use help::HelpTexts;
pub use model::{
    BatchRow, ENDPOINTS_FACT, EngineRequestRow, EventRow, Manifest, MetricType, Outcome, Record, RequestRow,
    RunData, Sample, SampleBatch, SeriesData, SeriesDef, SeriesId, Severity, StepRow, TimeSource,
};
pub use shown_url::ShownUrl;
pub use sink::{SampleSink, StopToken};
