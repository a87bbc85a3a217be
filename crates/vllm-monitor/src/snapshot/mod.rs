//! What is known about one target at one moment: every value with its age, or the reason why it is absent.
//!
//! A snapshot is the interface between observation (live scrape, replay, simulator) and evaluation.
//! It is plain data with a schema: [`SCHEMA`] rises whenever a field changes its meaning, and a snapshot of another
//! schema is refused. In JSON, a value is `{"fresh":{"value":3.0,"age_secs":0.2}}`, `{"stale":{…}}` or
//! `{"absent":"not_exported"}`.
//!
//! Names that end in `_total` are counters that never fall: a restart of the server is already accounted for.

mod builder;
mod facts;
mod names;
mod series;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use builder::{SeriesRef, SnapshotBuilder, StaleAfter};

use crate::{Signal, Time};

/// Version of the schema of [`Snapshot`].
pub const SCHEMA: u32 = 1;

/// One target at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// [`SCHEMA`] of the producer.
    pub schema: u32,
    /// Name of the target, such as its URL.
    pub target: Arc<str>,
    /// When the snapshot was made.
    pub time: Time,
    /// The engine as its own metrics show it.
    pub engine: Engine,
    /// The GPUs that the target computes on.
    pub gpus: Vec<Gpu>,
    /// The machine.
    pub host: Host,
    /// The server's processes.
    pub process: Process,
    /// What the server answered to probes.
    pub http: Http,
    /// What its log said since the snapshot before.
    pub log: Log,
    /// Requests that we know of because they are ours.
    pub own: OwnRequests,
    /// The monitor's own small requests.
    pub canary: Canary,
}

/// Sum and number of what a histogram observed; both rise only.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Totals {
    /// Sum of the observed values, in the histogram's unit.
    pub sum: Signal<f64>,
    /// Number of observations.
    pub count: Signal<f64>,
}

/// The engine's own metrics, summed over its data-parallel members where there are several.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// When the newest complete page of metrics was read.
    pub sampled_at: Option<Time>,
    /// Requests in the running batch.
    pub running: Signal<f64>,
    /// Requests in the queue.
    pub waiting: Signal<f64>,
    /// Of these, those that wait for something other than room: a LoRA adapter, transferred KV blocks, a grammar.
    pub waiting_deferred: Signal<f64>,
    /// Share of KV blocks in use, 0 to 1; of the fullest member where there are several.
    pub kv_usage_ratio: Signal<f64>,
    /// Tokens that the KV cache of one member holds.
    pub kv_capacity_tokens: Signal<f64>,
    /// Tokens per KV block.
    pub kv_block_tokens: Signal<f64>,
    /// `--max-num-seqs`, if known.
    pub max_running: Signal<f64>,
    /// `--max-num-queued-reqs`, if known and set: requests waiting and running beyond which the server refuses.
    pub max_queued: Signal<f64>,
    /// Longest sequence in tokens, if known.
    pub max_model_len_tokens: Signal<f64>,
    /// Steps that produced output (count of `iteration_tokens_total`): the heartbeat that every server has.
    pub steps_total: Signal<f64>,
    /// All steps, also those without output, as an in-engine source counts them.
    pub exact_steps_total: Signal<f64>,
    /// Tokens computed by the steps of `steps_total`.
    pub step_tokens_total: Signal<f64>,
    /// Preemptions.
    pub preemptions_total: Signal<f64>,
    /// Prompt tokens taken in.
    pub prompt_tokens_total: Signal<f64>,
    /// Of these, tokens that came from a cache.
    pub cached_tokens_total: Signal<f64>,
    /// Tokens generated.
    pub generation_tokens_total: Signal<f64>,
    /// Requests that ended, for whatever reason.
    pub finished_total: Signal<f64>,
    /// Of these, ended by an error of the server.
    pub errors_total: Signal<f64>,
    /// Of these, given up by their client.
    pub aborted_total: Signal<f64>,
    /// Requests refused for lack of room in the queue.
    pub rejected_total: Signal<f64>,
    /// Requests whose logits held NaN (`vllm:corrupted_requests_total`).
    pub corrupted_total: Signal<f64>,
    /// Failed transfers of KV blocks between servers.
    pub kv_transfer_failures_total: Signal<f64>,
    /// Seconds between tokens.
    pub inter_token_latency: Totals,
    /// Seconds to the first token.
    pub time_to_first_token: Totals,
    /// Seconds in the queue.
    pub queue_time: Totals,
    /// Seconds from first scheduling to the end.
    pub inference_time: Totals,
    /// Prompt tokens of finished requests.
    pub request_prompt_tokens: Totals,
    /// Generated tokens of finished requests.
    pub request_generation_tokens: Totals,
    /// 1 while the engine sleeps.
    pub asleep: Signal<f64>,
    /// Metrics that this version should export and does not.
    pub missing: Vec<Arc<str>>,
    /// Each data-parallel member, where there are several.
    pub members: Vec<Member>,
}

/// One data-parallel member of an engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Member {
    /// The label `engine`.
    pub engine: Arc<str>,
    /// Requests in its batch.
    pub running: Signal<f64>,
    /// Requests in its queue.
    pub waiting: Signal<f64>,
    /// Its heartbeat.
    pub steps_total: Signal<f64>,
    /// Its seconds between tokens.
    pub inter_token_latency: Totals,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// NVML index.
    pub index: Arc<str>,
    /// The driver no longer finds it.
    pub lost: bool,
    /// Device memory in use by all processes, in bytes.
    pub memory_used_bytes: Signal<f64>,
    /// Device memory, in bytes.
    pub memory_total_bytes: Signal<f64>,
    /// Of the used memory, the server's share, in bytes.
    pub server_memory_bytes: Signal<f64>,
    /// Share of time in which a kernel ran, 0 to 1.
    pub utilization_ratio: Signal<f64>,
    /// Core temperature.
    pub temperature_celsius: Signal<f64>,
    /// Temperature at which the GPU slows down.
    pub slowdown_celsius: Signal<f64>,
    /// Clock of the processors.
    pub sm_clock_hertz: Signal<f64>,
    /// Highest clock of the processors.
    pub sm_clock_max_hertz: Signal<f64>,
    /// Seconds slowed down for heat.
    pub thermal_throttle_secs_total: Signal<f64>,
    /// Seconds slowed down by the power brake.
    pub power_brake_secs_total: Signal<f64>,
    /// Memory errors corrected.
    pub ecc_corrected_total: Signal<f64>,
    /// Memory errors that could not be corrected.
    pub ecc_uncorrected_total: Signal<f64>,
    /// 1 if a row remap waits for a reset.
    pub remap_pending: Signal<f64>,
    /// 1 if a row remap failed.
    pub remap_failed: Signal<f64>,
    /// Rows remapped.
    pub remapped_rows_total: Signal<f64>,
    /// Errors of NVLinks: replays, recoveries and checksum errors.
    pub nvlink_errors_total: Signal<f64>,
    /// Transfers repeated on the bus.
    pub pcie_replays_total: Signal<f64>,
    /// What the driver asks for: 0 nothing, 1 reset, 2 reboot, 3 drain peer traffic, 4 drain and reset.
    pub recovery_action: Signal<f64>,
    /// XID errors by code since observing began.
    pub xids: Vec<XidCount>,
}

/// How often one XID error came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct XidCount {
    /// The code.
    pub code: u64,
    /// Events since observing began.
    pub total: f64,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// Memory that could be given out.
    pub memory_available_bytes: Signal<f64>,
    /// Memory.
    pub memory_total_bytes: Signal<f64>,
    /// Processes ended for lack of memory.
    pub oom_kills_total: Signal<f64>,
    /// Errors and drops of network devices.
    pub network_errors_total: Signal<f64>,
}

/// The server's processes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Whether the process exists.
    pub alive: Signal<bool>,
    /// How it ended, if it did and we could see it.
    pub exit: Option<Exit>,
    /// We, or someone we know of, asked it to stop.
    pub stop_requested: bool,
    /// Processes of the engine and its workers that a signal or a debugger has stopped.
    pub engine_stopped: Signal<f64>,
    /// Of them, those that run or wait for a disk.
    pub engine_active: Signal<f64>,
    /// CPU time of the engine and its workers, in seconds.
    pub engine_cpu_secs_total: Signal<f64>,
    /// Processes that answer HTTP and are stopped.
    pub api_stopped: Signal<f64>,
    /// Resident memory of the server's processes.
    pub resident_bytes: Signal<f64>,
    /// Memory used in the server's cgroup.
    pub cgroup_used_bytes: Signal<f64>,
    /// Limit of that cgroup.
    pub cgroup_limit_bytes: Signal<f64>,
    /// Processes of the cgroup ended for lack of memory.
    pub cgroup_oom_kills_total: Signal<f64>,
    /// Open files.
    pub open_files: Signal<f64>,
    /// Limit of open files.
    pub open_files_limit: Signal<f64>,
}

/// How a process ended. vLLM's server ends with code 0 when its engine dies, so the code alone says little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When.
    pub at: Time,
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
}

/// Answers to probes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// `GET /health`.
    pub health: Signal<Probe>,
    /// `GET /metrics`.
    pub metrics: Signal<Probe>,
    /// Whether `/v1/models` lists the model.
    pub model_listed: Signal<bool>,
    /// Whether `/is_paused` reports a pause.
    pub paused: Signal<bool>,
    /// Whether the server said that it is changing its size (a 503 with that body).
    pub scaling: Signal<bool>,
    /// What `/version` says.
    pub version: Option<Arc<str>>,
    /// Requests answered, of any kind.
    pub requests_total: Signal<f64>,
    /// Requests answered with a status of 500 or above.
    pub server_errors_total: Signal<f64>,
}

/// One probe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub at: Time,
    /// What came of it.
    pub outcome: ProbeOutcome,
    /// Time to connect, in seconds.
    pub connect_secs: Option<f64>,
    /// Time from the request to the first byte of the answer, in seconds.
    pub first_byte_secs: Option<f64>,
}

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// An answer with this status.
    Status(u16),
    /// Nothing listens.
    Refused,
    /// No connection within the limit.
    ConnectTimeout,
    /// The name could not be resolved, or there is no route to the address.
    Unreachable,
    /// Connected, and no answer within the limit.
    NoReply,
    /// The connection was reset.
    Reset,
    /// The answer ended early.
    Truncated,
    /// The answer is not HTTP, or not what the route should give.
    Malformed,
}

impl ProbeOutcome {
    /// Whether a process took the connection.
    pub fn is_connected(self) -> bool {
        !matches!(self, Self::Refused | Self::ConnectTimeout | Self::Unreachable)
    }

    /// Whether it is an answer with status 200 to 299.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }

    /// Whether the network, and not the server, is the likely cause.
    pub fn is_transport_fault(self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout | Self::Unreachable | Self::Reset | Self::Truncated
        )
    }

    /// In words, for evidence.
    pub fn describe(self) -> String {
        match self {
            Self::Status(code) => format!("status {code}"),
            Self::Refused => "connection refused".to_owned(),
            Self::ConnectTimeout => "no connection in time".to_owned(),
            Self::Unreachable => "no route, or the name cannot be resolved".to_owned(),
            Self::NoReply => "connected, but no reply in time".to_owned(),
            Self::Reset => "connection reset".to_owned(),
            Self::Truncated => "answer cut short".to_owned(),
            Self::Malformed => "answer not understood".to_owned(),
        }
    }
}

/// The server's log since the snapshot before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Whether a log is read at all.
    pub followed: bool,
    /// Lines that mean something, in order.
    pub marks: Vec<crate::log::LogMark>,
}

/// Requests that are known without asking the server, because this process sent them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnRequests {
    /// Sent and not finished.
    pub in_flight: Signal<f64>,
    /// Time since the newest token of any of them, or since the oldest was sent if none has come, in seconds.
    pub since_progress_secs: Signal<f64>,
    /// Prompt tokens of requests that have no first token yet.
    pub queued_prompt_tokens: Signal<f64>,
}

/// The monitor's own small requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Canary {
    /// How long the one under way has been waiting for its first token, in seconds; absent if none is under way.
    pub waiting_secs: Signal<f64>,
    /// The newest that ended.
    pub last: Signal<CanaryResult>,
}

/// How a canary request ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CanaryResult {
    /// It produced a token.
    pub ok: bool,
    /// Time to the first token, in seconds.
    pub first_token_secs: Option<f64>,
}

impl Snapshot {
    /// An empty snapshot: everything absent.
    ///
    /// ```
    /// use vllm_monitor::{Snapshot, Time};
    ///
    /// let snapshot = Snapshot::empty("http://localhost:8000", Time::ZERO);
    /// assert!(snapshot.engine.running.is_absent());
    /// let json = serde_json::to_string(&snapshot).unwrap();
    /// assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
    /// ```
    pub fn empty(target: impl Into<Arc<str>>, time: Time) -> Self {
        Self {
            schema: SCHEMA,
            target: target.into(),
            time,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused_and_missing_ones_are_absent() {
        let snapshot: Snapshot =
            serde_json::from_str(r#"{"schema":1,"target":"a","time":5}"#).expect("enough");
        assert!(snapshot.engine.waiting.is_absent());
        let error =
            serde_json::from_str::<Snapshot>(r#"{"schema":1,"runing":3}"#).expect_err("a typing error");
        assert!(error.to_string().contains("runing"), "{error}");
    }

    #[test]
    fn outcomes_sort_network_from_server() {
        for (outcome, connected, transport) in [
            (ProbeOutcome::Status(503), true, false),
            (ProbeOutcome::Refused, false, false),
            (ProbeOutcome::ConnectTimeout, false, true),
            (ProbeOutcome::NoReply, true, false),
            (ProbeOutcome::Truncated, true, true),
        ] {
            assert_eq!(
                (outcome.is_connected(), outcome.is_transport_fault()),
                (connected, transport)
            );
        }
        assert!(ProbeOutcome::Status(204).is_success() && !ProbeOutcome::Status(302).is_success());
    }
}
