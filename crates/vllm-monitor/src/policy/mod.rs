//! From assessments to decisions. The only policy so far observes: it reports and does not act.
//!
//! [`Policy`] is the extension point for acting. A policy sees a [`Situation`] and may return intents, which a shell
//! logs before executing them and verifies at their deadline.

mod alarm;
mod decision;

pub use alarm::{Alarms, THRESHOLDS, Threshold};
pub use decision::{Alert, AlertChange, AlertKind, Decision, Event, EventKind, Intent, Revert, Verify};

use std::sync::Arc;

use crate::Time;
use crate::config::Features;
use crate::forecast::{Assessment, FailureType};
use crate::lifecycle::State;

/// What a policy decides on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The target.
    pub target: &'a Arc<str>,
    /// When.
    pub time: Time,
    /// Its state after this snapshot.
    pub state: State,
    /// Whether anything fresh is known of it; without that no action is sound.
    pub is_unobserved: bool,
    /// What the predictors say, after calibration.
    pub assessments: &'a [(FailureType, Assessment)],
    /// Alerts that were raised or ended with this snapshot.
    pub alerts: &'a [Alert],
    /// What is on.
    pub features: &'a Features,
}

/// Decides what to do in a situation. Implementations are pure.
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
