//! Input of the core: a target, its failures, and its signals.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Time;

/// Names of the built-in signals.
pub mod signal {
    /// Tokens per second of requests that meet their latency targets, or of all requests where no target is set.
    pub const GOODPUT: &str = "goodput_tokens_per_sec";
    /// Preemptions per second.
    pub const PREEMPTIONS: &str = "preemptions_per_sec";
    /// Requests in the queue.
    pub const WAITING: &str = "waiting_requests";
    /// Requests in the batch.
    pub const RUNNING: &str = "running_requests";
    /// Share of KV blocks in use, 0 to 1.
    pub const KV_USAGE: &str = "kv_usage_ratio";
    /// Mean seconds between tokens.
    pub const INTER_TOKEN: &str = "inter_token_secs";
    /// Engine steps per second.
    pub const STEPS: &str = "steps_per_sec";
    /// Requests refused per second.
    pub const REJECTIONS: &str = "rejections_per_sec";
    /// Requests ended by an error of the server per second.
    pub const ERRORS: &str = "errors_per_sec";
    /// 1 while the server answers and makes progress, else 0.
    pub const SERVING: &str = "serving";
    /// Share of host memory in use, 0 to 1.
    pub const HOST_MEMORY: &str = "host_memory_ratio";
    /// Share of device memory in use on the fullest GPU, 0 to 1.
    pub const GPU_MEMORY: &str = "gpu_memory_ratio";
}

/// The built-in signals with their meaning. Custom strategies may use others.
pub const SIGNALS: &[(&str, &str)] = &[
    (
        signal::GOODPUT,
        "tokens per second of requests within their latency targets",
    ),
    (signal::PREEMPTIONS, "preemptions per second"),
    (signal::WAITING, "requests in the queue"),
    (signal::RUNNING, "requests in the batch"),
    (signal::KV_USAGE, "share of KV blocks in use"),
    (signal::INTER_TOKEN, "mean seconds between tokens"),
    (signal::STEPS, "engine steps per second"),
    (signal::REJECTIONS, "requests refused per second"),
    (
        signal::ERRORS,
        "requests ended by an error of the server per second",
    ),
    (
        signal::SERVING,
        "1 while the server answers and makes progress, else 0",
    ),
    (signal::HOST_MEMORY, "share of host memory in use"),
    (
        signal::GPU_MEMORY,
        "share of device memory in use on the fullest GPU",
    ),
];

/// The subject of a piece of evidence. Two pieces are independent if their kinds differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// The server's process ended. Sufficient alone.
    ProcessExit,
    /// The GPU's driver requests a recovery action. Sufficient alone.
    DriverRequest,
    /// Other facts about the process: memory, open files.
    Process,
    /// Requests sent by the harness or the canary.
    OwnRequests,
    /// Answers to probes over HTTP.
    Probe,
    /// Lines of the server's log.
    Log,
    /// Use of the KV cache, and preemptions.
    KvCache,
    /// Length of the queue, arrivals, refusals.
    Queue,
    /// Latencies.
    Latency,
    /// Steps and tokens, or their absence.
    Progress,
    /// GPU telemetry.
    Gpu,
    /// The machine.
    Host,
    /// The network between monitor and server, or between servers.
    Network,
    /// Comparison with other servers.
    Peers,
    /// Findings of plugins. Those of all plugins together count as one kind.
    Plugin,
}

impl EvidenceKind {
    /// Whether it permits an action without evidence of a second kind.
    pub fn is_sufficient(self) -> bool {
        matches!(self, Self::ProcessExit | Self::DriverRequest)
    }
}

/// One fact behind the diagnosis of a failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is about.
    pub kind: EvidenceKind,
    /// In words, including the value.
    pub text: Cow<'static, str>,
}

impl Evidence {
    /// A fact in words.
    pub fn new(kind: EvidenceKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}

/// A failure that is present or predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Its type, such as `kv_preemption`.
    pub kind: Arc<str>,
    /// Whether it is present; otherwise it is predicted.
    pub present: bool,
    /// Probability within the monitor's alarm horizon; 1 if present.
    pub probability: f64,
    /// Median time until it occurs; `None` if unknown, 0 if present.
    pub secs_to_failure: Option<f64>,
    /// The facts behind the diagnosis.
    pub evidence: Vec<Evidence>,
}

/// One target at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Situation {
    /// The target's name.
    pub target: Arc<str>,
    /// When.
    pub at: Time,
    /// Whether fresh data exists. Without it no decision is made.
    pub observed: bool,
    /// Failures, in any order.
    pub failures: Vec<Failure>,
    /// Fresh signals. A signal that is stale or unknown is not in the map.
    pub signals: BTreeMap<Cow<'static, str>, f64>,
    /// The process was started since the previous situation.
    pub restarted: bool,
    /// Actions that must not be used now, with the reason.
    #[serde(default)]
    pub vetoes: BTreeMap<Arc<str>, String>,
}

impl Situation {
    /// A signal, if it is fresh.
    pub fn signal(&self, name: &str) -> Option<f64> {
        self.signals.get(name).copied().filter(|value| value.is_finite())
    }
}

/// An operation that a target supports.
pub type Capability = Arc<str>;

/// Fixed properties of a target: its capabilities, and other programs that control it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind, such as `gpu`, `cpu` or `simulated`: part of the learning context.
    pub kind: Arc<str>,
    /// Supported operations.
    pub capabilities: BTreeSet<Capability>,
    /// Why a capability is missing, if known.
    #[serde(default)]
    pub reasons: BTreeMap<Capability, String>,
    /// Other program that restarts the server, such as `systemd`; restarts are left to it.
    #[serde(default)]
    pub restart_owner: Option<String>,
    /// Whether this target is excluded from all actions.
    #[serde(default)]
    pub excluded: bool,
}

impl Target {
    /// A target without capabilities.
    pub fn new(name: impl Into<Arc<str>>, kind: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            capabilities: BTreeSet::new(),
            reasons: BTreeMap::new(),
            restart_owner: None,
            excluded: false,
        }
    }

    /// With these capabilities.
    #[must_use]
    pub fn with<'a>(mut self, capabilities: impl IntoIterator<Item = &'a str>) -> Self {
        self.capabilities
            .extend(capabilities.into_iter().map(Capability::from));
        self
    }
}
