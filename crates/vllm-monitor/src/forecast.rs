//! The output of predictors: a forecast with probability and time, or what is needed to make one.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Evidence;

/// The kinds of failure that are monitored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureType {
    /// The KV cache fills and running requests are preempted. In vLLM's V1 engine this is what "out of memory" for
    /// keys and values looks like: no crash, but work done twice.
    KvPreemption,
    /// Requests are refused, or wait longer than their target allows.
    QueueOverflow,
    /// Steps take longer than they did at the same load.
    Degradation,
    /// The engine makes no steps although there is work.
    Hang,
    /// Device memory runs out because another process takes it.
    GpuMemory,
    /// Host memory, or the memory of the server's cgroup, runs out.
    HostMemory,
    /// A GPU or a link between GPUs fails.
    Hardware,
    /// The network between us and the server, or between servers, fails.
    Network,
    /// This target or one member of it is slower than its peers.
    Straggler,
    /// Requests fail because of the server.
    RequestErrors,
    /// Starting takes longer than earlier starts did.
    Startup,
}

impl FailureType {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::KvPreemption,
        Self::QueueOverflow,
        Self::Degradation,
        Self::Hang,
        Self::GpuMemory,
        Self::HostMemory,
        Self::Hardware,
        Self::Network,
        Self::Straggler,
        Self::RequestErrors,
        Self::Startup,
    ];

    /// The word used in labels and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KvPreemption => "kv_preemption",
            Self::QueueOverflow => "queue_overflow",
            Self::Degradation => "degradation",
            Self::Hang => "hang",
            Self::GpuMemory => "gpu_memory",
            Self::HostMemory => "host_memory",
            Self::Hardware => "hardware",
            Self::Network => "network",
            Self::Straggler => "straggler",
            Self::RequestErrors => "request_errors",
            Self::Startup => "startup",
        }
    }

    /// Place in arrays that hold one entry for each type.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for FailureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The horizons that every forecast covers, in seconds.
pub const HORIZONS_SECS: [f64; 4] = [5.0, 30.0, 60.0, 300.0];

/// Probabilities at [`HORIZONS_SECS`], which never fall from one horizon to the next.
///
/// ```
/// use vllm_monitor::Horizons;
///
/// let p = Horizons::new([0.2, 0.1, 0.5, f64::NAN]);
/// assert_eq!(p.as_array(), [0.2, 0.2, 0.5, 0.5]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Horizons([f64; 4]);

impl Horizons {
    /// Clamps to 0 to 1 and lifts what would fall; not a number counts as the value before it.
    pub fn new(raw: [f64; 4]) -> Self {
        let mut least: f64 = 0.0;
        Self(raw.map(|p| {
            if p.is_finite() {
                least = least.max(p.clamp(0.0, 1.0));
            }
            least
        }))
    }

    /// The same at all horizons.
    pub fn all(p: f64) -> Self {
        Self::new([p; 4])
    }

    /// In the order of [`HORIZONS_SECS`].
    pub fn as_array(self) -> [f64; 4] {
        self.0
    }

    /// At the first horizon that is at least this long, or the longest.
    pub fn at(self, secs: f64) -> f64 {
        let place = HORIZONS_SECS
            .iter()
            .position(|h| *h >= secs)
            .unwrap_or(HORIZONS_SECS.len() - 1);
        self.0[place]
    }
}

/// When the failure comes, if it comes: seconds from now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimeToFailure {
    /// Sooner than this with probability 10 %.
    pub p10_secs: f64,
    /// As likely sooner as later.
    pub p50_secs: f64,
    /// Sooner than this with probability 90 %; `None` beyond an hour.
    pub p90_secs: Option<f64>,
}

/// The data and the model behind a forecast, to judge how far to trust it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Observations used; what counts depends on the predictor (scrapes, gaps between tokens, probes).
    pub samples: u64,
    /// Seconds that they cover: the predictor's window, or everything it observed, gaps and downtime excluded.
    pub observed_secs: f64,
    /// Version of the parameters and calibration tables.
    pub model_version: Cow<'static, str>,
    /// Whether at least one horizon's probability went through a calibration table.
    pub calibrated: bool,
}

/// A predicted failure, with probability and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// What would fail.
    pub failure_type: FailureType,
    /// Probability that it begins within each of [`HORIZONS_SECS`].
    pub probability: Horizons,
    /// When, if it comes; absent if that is not to be expected within the longest horizon.
    pub time_to_failure: Option<TimeToFailure>,
    /// The evidence for it.
    pub evidence: Vec<Evidence>,
    /// What the forecast rests on.
    pub basis: Basis,
}

/// What is missing before a forecast can be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// What is needed, such as "seconds of samples".
    pub what: Cow<'static, str>,
    /// How much of it there is.
    pub have: f64,
    /// How much it takes.
    pub want: f64,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.0} of {:.0}", self.what, self.have, self.want)
    }
}

/// A predictor's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// A forecast, which may well be that nothing is to be expected.
    Forecast(Forecast),
    /// Too little is known.
    NotEnoughData {
        /// What is missing.
        need: Need,
    },
    /// The prediction does not apply at the moment.
    Suspended {
        /// Why: loading, paused, asleep, changing size, compiling, failed.
        reason: Cow<'static, str>,
    },
}

impl Prediction {
    /// The forecast, if there is one.
    pub fn forecast(&self) -> Option<&Forecast> {
        match self {
            Self::Forecast(forecast) => Some(forecast),
            _ => None,
        }
    }

    /// Not enough data: `have` of `want`.
    pub fn needs(what: &'static str, have: f64, want: f64) -> Self {
        Self::NotEnoughData {
            need: Need {
                what: Cow::Borrowed(what),
                have,
                want,
            },
        }
    }

    /// A required signal is absent or stale.
    pub fn needs_signal(what: &'static str) -> Self {
        Self::needs(what, 0.0, 1.0)
    }
}

/// How bad a present condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Service goes on, worse than it should.
    Degraded,
    /// No service.
    Failed,
}

/// A failure that is present now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// What is failing.
    pub failure_type: FailureType,
    /// How bad.
    pub severity: Severity,
    /// The evidence for it.
    pub evidence: Vec<Evidence>,
    /// What to do, if known.
    pub advice: Option<Cow<'static, str>>,
}

/// A predictor's result for one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The prediction.
    pub prediction: Prediction,
    /// The failure that is present now, if any.
    pub condition: Option<Condition>,
}

impl Assessment {
    /// The evidence for the failure that is present, otherwise for the forecast.
    pub fn evidence(&self) -> &[Evidence] {
        evidence(self.condition.as_ref(), self.prediction.forecast())
    }
}

/// The evidence for a failure that is present, otherwise for a forecast.
pub(crate) fn evidence<'a>(
    condition: Option<&'a Condition>,
    forecast: Option<&'a Forecast>,
) -> &'a [Evidence] {
    condition
        .map(|condition| &condition.evidence)
        .or(forecast.map(|forecast| &forecast.evidence))
        .map_or(&[], Vec::as_slice)
}

impl From<Prediction> for Assessment {
    fn from(prediction: Prediction) -> Self {
        Self {
            prediction,
            condition: None,
        }
    }
}
