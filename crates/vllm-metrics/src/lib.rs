//! Watch a vLLM server, its GPUs, its host and the harness itself on one clock, and keep one compact record of
//! the run.

pub mod derive;

pub mod error;

pub mod gpu;

pub mod host;

pub mod model;

mod schedule;

pub mod sink;

pub mod store;

pub use error::{Error, Result};

pub use model::{
    BatchRow, EventRow, Manifest, MetricType, Outcome, Record, RequestRow, RunData, Sample, SampleBatch,
    SeriesData, SeriesDef, SeriesId, Severity, TimeSource,
};

pub use sink::{SampleSink, StopToken};

pub use store::{Store, StoreFiles, StoreFormat, StoreOptions, read_run};
