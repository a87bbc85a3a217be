//! Watch a vLLM server, its GPUs, its host and the harness itself on one clock, and keep one compact record of
//! the run.

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

mod queue;

mod scrape;

mod selfcost;

pub mod select;

pub mod session;

pub mod sink;

pub mod store;

pub use clock::RunClock;

pub use collector::{EndpointReport, Gap};

pub use config::{EndpointConfig, SessionConfig};

pub use error::{Error, Result};

pub use hooks::{Completed, Hooks, Reason, ServerTimes};

pub use model::{
    BatchRow, EventRow, Manifest, MetricType, Outcome, Record, RequestRow, RunData, Sample, SampleBatch,
    SeriesData, SeriesDef, SeriesId, Severity, TimeSource,
};

pub use queue::Dropped;

pub use scrape::{EndpointCheck, PageIngest, ScrapeError, check_endpoint, validate_endpoint};

pub use select::{SelectionConfig, Selector};

pub use session::{FinishedRun, LatestSample, Missing, OwnCost, Session, SessionBuilder, SessionDriver};

pub use sink::{SampleSink, StopToken};

pub use store::{MemoryStore, Store, StoreFiles, StoreFormat, StoreOptions, read_run};
