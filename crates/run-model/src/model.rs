//! Rows of all record types, and a whole run in memory. Data only: no I/O, no clock, no policy.
//!
//! Times are `i64` nanoseconds since the Unix epoch (UTC), taken from the run's clock: a monotonic origin
//! with a single wall-clock anchor. Durations have their unit in the name. Absence is an `Option` or a
//! missing row, never a zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::EventKind;
pub use crate::event::Severity;

/// Index of a series within one run, interned once per distinct (name, labels, endpoint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);

/// Type of a metric family, from the exposition or, for the recorder's own series, the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Only increases, except when its process restarts.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// `_bucket`, `_sum` and `_count` samples of one histogram family; stored as exposed.
    Histogram,
    /// `quantile`, `_sum` and `_count` samples of one summary family.
    Summary,
    /// Constant 1; the labels carry the information.
    Info,
    /// Not specified by the source.
    Unknown,
}

impl MetricType {
    /// The text stored in the `metric_type` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::Unknown => "unknown",
        }
    }

    /// The inverse of [`MetricType::as_str`]; `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

/// The constant properties of a series: a row of the series table, and the constant columns of the long form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesDef {
    /// Sample name as exposed, for example `vllm:time_to_first_token_seconds_bucket`.
    pub metric_name: Arc<str>,
    /// JSON object text, keys sorted, values strings: `{"engine":"0","model_name":"m"}`. No labels: `{}`.
    pub labels: Arc<str>,
    /// Type of the family the sample belongs to.
    pub metric_type: MetricType,
    /// Unit in base units (`seconds`, `bytes`, `ratio`, `tokens`, `watts`, …); empty when unknown.
    pub unit: Arc<str>,
    /// What measured it: `vllm`, `prometheus`, `nvml`, `host`, `self` or `derived`. Simulated sources have the
    /// suffix `-simulated`.
    pub source: Arc<str>,
    /// The scraped endpoint; empty for sources that are not scraped.
    pub endpoint_url: Arc<str>,
}

/// One value of one series at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The series.
    pub series: SeriesId,
    /// Time on the run's clock.
    pub timestamp_ns: i64,
    /// The value as exposed, including `NaN` and infinities.
    pub value: f64,
}

/// Samples that were taken together: one scrape of one endpoint, or one tick of a sampler.
#[derive(Debug, Clone, Default)]
pub struct SampleBatch {
    /// Start of the scrape (request sent) on the run's clock; the `timestamp` of its samples.
    pub start_ns: i64,
    /// End of the scrape (last byte read).
    pub end_ns: i64,
    /// Run phase in which it was taken, as named by the harness; empty before the first mark.
    pub phase: Arc<str>,
    /// The samples, in exposition order.
    pub samples: Vec<Sample>,
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered in full.
    Completed,
    /// Answered to LoadGen (or the caller) as failed.
    Failed,
    /// The run ended before an answer.
    Unfinished,
}

impl Outcome {
    /// The text stored in the `outcome` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
        }
    }

    /// The inverse of [`Outcome::as_str`]; `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "unfinished" => Self::Unfinished,
            _ => return None,
        })
    }
}

/// Source of a request's server-side times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeSource {
    /// The server included them in the response (`--enable-per-request-metrics`).
    Server,
    /// Estimated from histogram increments around the request; labelled as an estimate.
    Estimate,
}

impl TimeSource {
    /// The text stored in the `server_time_source` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Estimate => "estimate",
        }
    }

    /// The inverse of [`TimeSource::as_str`]; `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "server" => Some(Self::Server),
            "estimate" => Some(Self::Estimate),
            _ => None,
        }
    }
}

/// One request. Times are absolute on the run's clock; `None` means not occurred or not known.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRow {
    /// LoadGen's sample id (an opaque 64-bit number), or the caller's own id.
    pub request_id: u64,
    /// Index of the sample in the dataset.
    pub sample_index: u64,
    /// Batch the request was dispatched in.
    pub batch_id: Option<u64>,
    /// Index of the endpoint that served it.
    pub endpoint: u32,
    /// When the load generator intended to send it.
    pub scheduled_ns: Option<i64>,
    /// When it was passed to the harness.
    pub issued_ns: i64,
    /// When its bytes were passed to the network, after waiting for a permit.
    pub sent_ns: Option<i64>,
    /// When its first token arrived.
    pub first_token_ns: Option<i64>,
    /// When it was answered.
    pub done_ns: Option<i64>,
    /// Prompt length in tokens, if known.
    pub prompt_tokens: Option<u32>,
    /// Output length in tokens, first token included.
    pub output_tokens: Option<u32>,
    /// Server's time in its queue.
    pub server_queue_ns: Option<i64>,
    /// Server's prefill time.
    pub server_prefill_ns: Option<i64>,
    /// Server's decode time.
    pub server_decode_ns: Option<i64>,
    /// Source of the three times above.
    pub server_time_source: Option<TimeSource>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, or the server's finish reason.
    pub reason: Option<Arc<str>>,
}

/// One dispatched batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRow {
    /// Number of the batch within the run, starting at 0.
    pub batch_id: u64,
    /// When it was issued.
    pub issued_ns: i64,
    /// When its last request was answered; `None` if the run ended before.
    pub done_ns: Option<i64>,
    /// Number of requests in the batch.
    pub requests: u32,
    /// Output tokens of all of them.
    pub output_tokens: Option<u64>,
    /// Number of failed requests.
    pub failed: u32,
}

/// One step of one engine, as counted in the engine's process, including steps without output.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// Number of the step within its engine, starting at 0.
    pub step: u64,
    /// Index of the engine.
    pub engine: u32,
    /// When the frontend received the step's result.
    pub timestamp_ns: i64,
    /// Time since the previous step; after an idle period, the time that the engine itself reported.
    pub duration_ns: Option<i64>,
    /// Duration of the step inside the engine's process, if reported.
    pub elapsed_ns: Option<i64>,
    /// Requests in the running batch after the step.
    pub running: u32,
    /// Requests in the queue, for whatever reason.
    pub waiting: u32,
    /// Prompt tokens computed in the step, if reported by the engine.
    pub prefill_tokens: Option<u32>,
    /// Tokens computed in the step for generating requests, if reported by the engine.
    pub decode_tokens: Option<u32>,
    /// Prompt tokens of requests whose prefill ended in the step, including cached ones.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub generation_tokens: u32,
    /// Requests preempted.
    pub preemptions: u32,
    /// Share of KV blocks in use after the step, 0 to 1.
    pub kv_usage_ratio: Option<f64>,
}

/// One request as reported by the engine at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineRequestRow {
    /// The server's id of the request.
    pub server_request_id: Arc<str>,
    /// The client's id ([`RequestRow::request_id`]), if the server's id contains one because the client sent
    /// it as `X-Request-Id`.
    pub request_id: Option<u64>,
    /// Index of the engine.
    pub engine: u32,
    /// When the frontend received its end.
    pub done_ns: i64,
    /// The server's finish reason.
    pub reason: Arc<str>,
    /// Prompt length in tokens.
    pub prompt_tokens: u32,
    /// Prompt tokens taken from a cache.
    pub cached_tokens: u32,
    /// Output length in tokens.
    pub output_tokens: u32,
    /// Number of preemptions.
    pub preemptions: u32,
    /// Time from arrival to the end.
    pub e2e_ns: i64,
    /// Time in the queue.
    pub queue_ns: i64,
    /// Time from first scheduling to the first token.
    pub prefill_ns: i64,
    /// Time from the first token to the last.
    pub decode_ns: i64,
}

/// An event: phase marks, gaps, drops, resets, GPU faults, lifecycle changes, errors.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Time on the run's clock.
    pub timestamp_ns: i64,
    /// End of an event with a duration (a gap), else `None`.
    pub end_ns: Option<i64>,
    /// Kind of the event.
    pub kind: EventKind,
    /// Severity.
    pub severity: Severity,
    /// What reported it: a [`SeriesDef::source`], `harness` or `store`.
    pub source: Arc<str>,
    /// One human-readable sentence.
    pub message: Arc<str>,
    /// JSON object text with the machine-readable details; `{}` when there are none.
    pub attributes: Arc<str>,
}

impl EventRow {
    /// Creates an event at `at_ns` with the severity of its kind and no attributes.
    ///
    /// ```
    /// use run_model::{EventKind, EventRow, Severity};
    ///
    /// let event = EventRow::new(5, EventKind::Gap, "self", "no samples for 2 s")
    ///     .until(2_000_000_005)
    ///     .attributes(&serde_json::json!({"missed_scrapes": 2}));
    /// assert_eq!(event.severity, Severity::Warning);
    /// assert_eq!(&*event.attributes, r#"{"missed_scrapes":2}"#);
    /// ```
    pub fn new(at_ns: i64, kind: impl Into<EventKind>, source: &str, message: impl Into<String>) -> Self {
        let kind = kind.into();
        Self {
            timestamp_ns: at_ns,
            end_ns: None,
            severity: kind.severity(),
            kind,
            source: Arc::from(source),
            message: Arc::from(message.into()),
            attributes: Arc::from("{}"),
        }
    }

    /// Sets the end of an event with a duration.
    #[must_use]
    pub fn until(mut self, end_ns: i64) -> Self {
        self.end_ns = Some(end_ns);
        self
    }

    /// Overrides the severity of the kind.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Sets machine-readable details: a JSON object.
    #[must_use]
    pub fn attributes(mut self, attributes: &serde_json::Value) -> Self {
        self.attributes = Arc::from(attributes.to_string());
        self
    }
}

/// A record sent from the recorder to its subscribers.
#[derive(Debug, Clone)]
pub enum Record {
    /// What a server says about a family of its series (`# HELP`): family, text. Before its first series, where the
    /// page has it there.
    Help(Arc<str>, Arc<str>),
    /// A new series; always sent before its first sample. Ids are dense, starting at 0.
    Series(SeriesId, Arc<SeriesDef>),
    /// A scrape or sampler tick, shared by all subscribers.
    Samples(Arc<SampleBatch>),
    /// A finished request.
    Request(RequestRow),
    /// A finished batch.
    Batch(BatchRow),
    /// A step of an engine.
    Step(StepRow),
    /// A request that an engine finished.
    EngineRequest(EngineRequestRow),
    /// An event.
    Event(EventRow),
}

/// The fact that lists the endpoints of a run, separated by spaces, in the order of [`RequestRow::endpoint`].
pub const ENDPOINTS_FACT: &str = "metrics.endpoints";

/// Facts about the run as a whole, stored with the data and in each Parquet file's key-value metadata.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    /// `YYYYMMDD_HHMMSS` (UTC) of the start; part of every file name.
    pub stamp: String,
    /// Start of the run on its clock.
    pub started_ns: i64,
    /// End of the run; `None` if it was cut.
    pub ended_ns: Option<i64>,
    /// True if the data come from a simulator (server or GPU); propagated to everything derived from them.
    pub simulated: bool,
    /// Resolved configuration and free facts (`model`, `scenario`, `server_version`, …), secrets redacted.
    pub facts: BTreeMap<String, String>,
}

/// All values of one series, in time order.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesData {
    /// Definition of the series.
    pub def: Arc<SeriesDef>,
    /// Times, ascending.
    pub timestamps_ns: Vec<i64>,
    /// Values, one per time.
    pub values: Vec<f64>,
    /// Phase of each sample, run-length: (index of first sample, phase).
    pub phases: Vec<(usize, Arc<str>)>,
}

/// A run in memory, as used by reports, post-processing and tests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunData {
    /// Facts about the run.
    pub manifest: Manifest,
    /// Every series, sorted by name, then labels, then endpoint.
    pub series: Vec<SeriesData>,
    /// Every request, in order of `issued_ns`.
    pub requests: Vec<RequestRow>,
    /// Every batch, in order of `batch_id`.
    pub batches: Vec<BatchRow>,
    /// Every engine step, by engine and number; empty without a source inside the engine.
    pub steps: Vec<StepRow>,
    /// Every request that an engine finished, in time order; empty without a source inside the engine.
    pub engine_requests: Vec<EngineRequestRow>,
    /// Every event, in time order.
    pub events: Vec<EventRow>,
    /// Notes of the reader: the run was cut, a tail was recovered, a file is missing.
    pub notes: Vec<String>,
}
