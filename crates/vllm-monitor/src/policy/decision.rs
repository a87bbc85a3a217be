//! What the monitor hands out: things that happened, alerts, and (for an acting policy) intents.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::forecast::{Condition, FailureType, Forecast};
use crate::lifecycle::{LoadPhase, LogMark, Transition};

/// One decision about one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Something happened; write it down.
    Event(Event),
    /// Something people should know, raised once and ended once.
    Alert(Alert),
    /// An action that should be carried out. The observe-only policy makes none.
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
    /// Nothing fresh is known of the target any more.
    WentBlind,
    /// The target can be seen again.
    SeesAgain,
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
    /// Snapshots were too far apart: the time between them was not watched.
    NotWatched {
        /// How far apart.
        secs: f64,
    },
    /// A snapshot is older than the one before: what was seen last no longer counts.
    ClockWentBack {
        /// By how much.
        secs: f64,
    },
    /// A snapshot has another schema and was not judged.
    SnapshotRefused {
        /// Its schema.
        schema: u32,
        /// The one that is understood.
        expected: u32,
    },
}

/// Whether a failure is foreseen or there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// It will probably come.
    Foreseen,
    /// It is there.
    Present,
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

/// Something people should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The target.
    pub target: Arc<str>,
    /// When.
    pub at: Time,
    /// Begins or ends.
    pub change: AlertChange,
    /// Foreseen or there.
    pub kind: AlertKind,
    /// What.
    pub failure_type: FailureType,
    /// The forecast behind it.
    pub forecast: Option<Forecast>,
    /// The condition behind it.
    pub condition: Option<Condition>,
}

/// An action that should be carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The target.
    pub target: Arc<str>,
    /// Name of the action.
    pub action: Cow<'static, str>,
    /// Against what.
    pub failure_type: FailureType,
    /// Probability with which the policy chose this action among those that were admissible, for later judgement.
    pub propensity: f64,
    /// Why.
    pub reason: Cow<'static, str>,
}

/// An action whose effect is to be checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verify {
    /// The target.
    pub target: Arc<str>,
    /// Name of the action.
    pub action: Cow<'static, str>,
    /// When to look.
    pub deadline: Time,
}

/// An action that is to be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revert {
    /// The target.
    pub target: Arc<str>,
    /// Name of the action.
    pub action: Cow<'static, str>,
}
