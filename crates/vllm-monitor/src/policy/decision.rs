//! The monitor's output: events, alerts and, with an acting policy, intents.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::forecast::{self, Condition, FailureType, Forecast};
use crate::lifecycle::Transition;
use crate::log::{LoadPhase, LogMark};

/// One decision about one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Something happened.
    Event(Event),
    /// An alert, raised once and cleared once.
    Alert(Alert),
    /// An action that is carried out, or would be if acting were turned on.
    Intent(Intent),
    /// An action whose effect is to be checked at a time.
    Verify(Verify),
    /// An action that is to be taken back.
    Revert(Revert),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The target.
    pub target: Arc<str>,
    /// When.
    pub at: Time,
    /// What.
    pub kind: EventKind,
}

/// Kinds of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The state changed.
    Transition(Transition),
    /// A phase of loading ended.
    PhaseEnded {
        /// The phase.
        phase: LoadPhase,
        /// Its duration.
        secs: f64,
    },
    /// There is no fresh data about the target any more.
    ObservationLost,
    /// There is fresh data again.
    ObservationRestored,
    /// A failure began.
    Onset {
        /// Which.
        failure_type: FailureType,
    },
    /// A fatal line or a warning in the server's log.
    LogMark(LogMark),
    /// The server does not export metrics that its version should.
    MetricsMissing {
        /// Their names.
        names: Vec<Arc<str>>,
    },
    /// The gap between two snapshots was too long; the time between them was not observed.
    ObservationGap {
        /// Length of the gap, in seconds.
        secs: f64,
    },
    /// A snapshot is older than the previous one; rates start over.
    ClockWentBack {
        /// By how much.
        secs: f64,
    },
    /// Something about actions, in words: unsupported ones, outcomes, a breaker that tripped.
    Acting {
        /// The words.
        text: String,
        /// Whether a person should look at it.
        is_warning: bool,
    },
    /// A plugin of the monitor was loaded, changed, refused, failed, or found something, in words.
    Plugin {
        /// Name of the plugin; empty for the folder as a whole.
        plugin: String,
        /// The words.
        text: String,
        /// Whether a person should look at it.
        is_warning: bool,
    },
    /// A snapshot has another schema and was not evaluated.
    SnapshotRefused {
        /// Its schema.
        schema: u32,
        /// The one that is understood.
        expected: u32,
    },
}

/// Whether a failure is predicted or present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Predicted.
    Predicted,
    /// Present now.
    Present,
}

impl AlertKind {
    /// Its name in labels and texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Predicted => "predicted",
            Self::Present => "present",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an alert begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertChange {
    /// It begins.
    Raised,
    /// It ends.
    Cleared,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The target.
    pub target: Arc<str>,
    /// When.
    pub at: Time,
    /// Begins or ends.
    pub change: AlertChange,
    /// Predicted or present.
    pub kind: AlertKind,
    /// What.
    pub failure_type: FailureType,
    /// The forecast behind it.
    pub forecast: Option<Forecast>,
    /// The condition behind it.
    pub condition: Option<Condition>,
}

impl Alert {
    /// The evidence for the failure that is present, otherwise for the forecast, as one text.
    pub fn evidence_text(&self) -> String {
        let evidence = forecast::evidence(self.condition.as_ref(), self.forecast.as_ref());
        let evidence: Vec<String> = evidence.iter().map(ToString::to_string).collect();
        evidence.join("; ")
    }
}

/// An action that is carried out, or would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The target.
    pub target: Arc<str>,
    /// Name of the action.
    pub action: Arc<str>,
    /// Against what, such as `kv_preemption` or `process_exit`.
    pub failure: Arc<str>,
    /// Whether it is only a suggestion, since acting is turned off.
    pub observe_only: bool,
    /// Probability with which the policy chose this action among those that were admissible, for later judgement.
    pub propensity: f64,
    /// Why.
    pub reason: String,
}

/// An action whose effect is to be checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verify {
    /// The target.
    pub target: Arc<str>,
    /// Name of the action.
    pub action: Arc<str>,
    /// When to look.
    pub deadline: Time,
}

/// An action that is to be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revert {
    /// The target.
    pub target: Arc<str>,
    /// Name of the action.
    pub action: Arc<str>,
    /// Why.
    pub why: Cow<'static, str>,
}
