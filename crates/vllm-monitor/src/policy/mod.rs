//! From assessments to decisions.
//!
//! [`Policy`] is the extension point for acting. A policy sees a [`Situation`] after each step; the program
//! `vllm-monitor` passes it on to a task that decides and acts, and this crate's own [`ObserveOnly`] does nothing.

mod alarm;
mod decision;

pub use alarm::{Alarms, THRESHOLDS, Threshold};
pub use decision::{Alert, AlertChange, AlertKind, Decision, Event, EventKind, Intent, Revert, Verify};

use crate::config::Features;
use crate::{Snapshot, TargetState};

/// What a policy decides on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What was observed, with the target's name and the time.
    pub snapshot: &'a Snapshot,
    /// The target's state after it: lifecycle, rates, and what the predictors say, after calibration.
    pub target: &'a TargetState,
    /// Alerts that were raised or ended with this snapshot.
    pub alerts: &'a [Alert],
    /// What is on.
    pub features: &'a Features,
}

/// Decides what to do in a situation. Implementations neither wait nor do I/O.
pub trait Policy: std::fmt::Debug + Send + Sync {
    /// Further decisions, beyond the events and alerts that are reported anyway.
    fn decide(&self, situation: &Situation<'_>) -> Vec<Decision>;
}

/// Reports only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObserveOnly;

impl Policy for ObserveOnly {
    fn decide(&self, _situation: &Situation<'_>) -> Vec<Decision> {
        Vec::new()
    }
}
