//! The state of a server, with the evidence for and against it.
//!
//! States are derived from observable facts (process, log, probes, metrics, own requests), not from what the server
//! reports about itself. Two rules hold everywhere: a process that exits without being asked to has failed, whatever its
//! exit code; and missing or stale data makes a server neither healthy nor dead.

mod judge;
mod phases;
mod tracker;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use phases::LoadHistory;
pub use tracker::{LifecycleEvent, Tracker, View};

use crate::{Evidence, Time};

/// What a server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// No server is running.
    #[default]
    NotStarted,
    /// The process exists and has not started loading.
    Initializing,
    /// Loads weights, compiles, or allocates the KV cache.
    LoadingModel,
    /// Answers and has been idle for a while.
    Ready,
    /// Processes requests.
    Serving,
    /// Answers, but is impaired.
    Degraded,
    /// Out of service.
    Error,
    /// Was asked to stop and has not exited yet.
    ShuttingDown,
}

impl State {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::NotStarted,
        Self::Initializing,
        Self::LoadingModel,
        Self::Ready,
        Self::Serving,
        Self::Degraded,
        Self::Error,
        Self::ShuttingDown,
    ];

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NOT_STARTED",
            Self::Initializing => "INITIALIZING",
            Self::LoadingModel => "LOADING_MODEL",
            Self::Ready => "READY",
            Self::Serving => "SERVING",
            Self::Degraded => "DEGRADED",
            Self::Error => "ERROR",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }

    /// Whether the server takes requests.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Ready | Self::Serving | Self::Degraded)
    }

    /// Whether the server is on its way up.
    pub fn is_starting(self) -> bool {
        matches!(self, Self::Initializing | Self::LoadingModel)
    }

    /// Whether one state may follow another directly.
    ///
    /// ```
    /// use vllm_monitor::lifecycle::State;
    ///
    /// assert!(State::LoadingModel.may_become(State::Ready));
    /// assert!(State::Error.may_become(State::Serving), "it may recover");
    /// assert!(!State::Serving.may_become(State::NotStarted), "it shuts down or fails first");
    /// ```
    pub fn may_become(self, next: Self) -> bool {
        use State::{Degraded, Error, Initializing, LoadingModel, NotStarted, Ready, Serving, ShuttingDown};
        match self {
            // Monitoring may begin at any point of a server's life.
            NotStarted => next != NotStarted,
            Initializing => !matches!(next, NotStarted | Initializing),
            LoadingModel => !matches!(next, NotStarted | Initializing | LoadingModel),
            Ready => matches!(next, Serving | Degraded | Error | ShuttingDown),
            Serving => matches!(next, Ready | Degraded | Error | ShuttingDown),
            Degraded => matches!(next, Ready | Serving | Error | ShuttingDown),
            Error => next != Error,
            // A request to stop may be withdrawn while the server still answers.
            ShuttingDown => matches!(next, NotStarted | Error | Ready),
        }
    }

    /// The states to go through from one to another, the last being the goal; at most one stands between.
    pub(crate) fn path_to(self, goal: Self) -> Vec<Self> {
        if self == goal {
            return Vec::new();
        }
        if self.may_become(goal) {
            return vec![goal];
        }
        let between = match (self, goal) {
            (Self::ShuttingDown, Self::Serving | Self::Degraded) => Self::Ready,
            (Self::ShuttingDown, _) => Self::NotStarted,
            (_, Self::NotStarted) => Self::ShuttingDown,
            // A server that was up and loads again has restarted unobserved: that is a failure.
            _ => Self::Error,
        };
        vec![between, goal]
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Conditions, independent of the state, in which a lack of progress is not a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SideStates {
    /// Scheduling is stopped on purpose.
    pub paused: bool,
    /// The engine sleeps: its memory is given back.
    pub sleeping: bool,
    /// The server is changing its size.
    pub scaling: bool,
    /// A kernel or a graph is being compiled.
    pub compiling: bool,
}

impl SideStates {
    /// The first that holds, in words; `None` if none does.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self { sleeping: true, .. } => Some("the engine sleeps"),
            Self { paused: true, .. } => Some("scheduling is paused"),
            Self { scaling: true, .. } => Some("the server is changing its size"),
            Self { compiling: true, .. } => Some("a compilation is under way"),
            _ => None,
        }
    }
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: Time,
    /// From this state.
    pub from: State,
    /// To this one.
    pub to: State,
    /// Evidence for the new state.
    pub evidence: Vec<Evidence>,
    /// Evidence against it.
    pub against: Vec<Evidence>,
}

/// A target's health in one word, for load balancers and dashboards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// There is no fresh data.
    Unknown,
    /// Not running.
    Stopped,
    /// Starting.
    Starting,
    /// Working normally.
    Healthy,
    /// Working, but impaired.
    Degraded,
    /// No service.
    Failed,
    /// Stopping.
    Stopping,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_states_has_a_legal_path() {
        for from in State::ALL {
            assert!(!from.may_become(from), "{from} is no change");
            for to in State::ALL {
                let path = from.path_to(to);
                let mut at = from;
                for step in &path {
                    assert!(at.may_become(*step), "{from} to {to} by {path:?}");
                    at = *step;
                }
                assert_eq!(at, to, "{from} to {to} by {path:?}");
                assert!(path.len() <= 2);
            }
        }
    }

    #[test]
    fn a_restart_that_was_not_seen_is_a_failure() {
        assert_eq!(
            State::Serving.path_to(State::LoadingModel),
            [State::Error, State::LoadingModel]
        );
        assert_eq!(
            State::LoadingModel.path_to(State::Initializing),
            [State::Error, State::Initializing]
        );
        assert_eq!(
            State::ShuttingDown.path_to(State::Initializing),
            [State::NotStarted, State::Initializing]
        );
    }
}
