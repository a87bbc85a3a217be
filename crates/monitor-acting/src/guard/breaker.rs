//! A breaker that trips to observe mode, and stays tripped across restarts until it is reset by hand.

use serde::{Deserialize, Serialize};

use crate::Time;

/// The breaker's state.
///
/// ```
/// use monitor_acting::{Time, guard::Breaker};
///
/// let mut breaker = Breaker::default();
/// assert!(!breaker.is_tripped());
/// breaker.trip(Time::from_secs_f64(5.0), "7 of 20 targets within 300 s");
/// breaker.trip(Time::from_secs_f64(6.0), "again");
/// assert_eq!(breaker.why(), Some("7 of 20 targets within 300 s"), "the first reason stays");
/// breaker.reset();
/// assert!(!breaker.is_tripped());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Breaker {
    tripped: Option<(Time, String)>,
}

impl Breaker {
    /// Whether it is tripped.
    pub fn is_tripped(&self) -> bool {
        self.tripped.is_some()
    }

    /// Why it tripped.
    pub fn why(&self) -> Option<&str> {
        self.tripped.as_ref().map(|(_, why)| why.as_str())
    }

    /// When it tripped.
    pub fn since(&self) -> Option<Time> {
        self.tripped.as_ref().map(|(at, _)| *at)
    }

    /// Trips it. Returns whether it was not tripped before.
    pub fn trip(&mut self, at: Time, why: impl Into<String>) -> bool {
        if self.tripped.is_some() {
            return false;
        }
        self.tripped = Some((at, why.into()));
        true
    }

    /// Resets it. Only an operator should call this.
    pub fn reset(&mut self) {
        self.tripped = None;
    }
}
