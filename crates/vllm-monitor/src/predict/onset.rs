//! When a failure begins: the definitions that forecasts are scored against.
//!
//! KV preemption begins with the first preemption after at least 60 s without one. Everything else begins when its
//! condition appears after at least 60 s without it. During a failure and for 60 s after it, forecasts are not scored.

use crate::forecast::{Condition, FailureType};
use crate::rates::Rates;

/// Time without a failure after which a new one counts as such, in seconds.
pub const QUIET_SECS: f64 = 60.0;

const TYPES: usize = FailureType::ALL.len();

/// Detects the onsets of failures of one target.
#[derive(Debug, Clone, PartialEq)]
pub struct Onsets {
    /// Observed seconds since the failure was last there.
    quiet_secs: [f64; TYPES],
}

impl Default for Onsets {
    fn default() -> Self {
        Self {
            quiet_secs: [QUIET_SECS; TYPES],
        }
    }
}

impl Onsets {
    /// Takes one snapshot's findings and returns the failures that began with it.
    pub fn update(&mut self, conditions: &[Condition], rates: &Rates, dt_secs: f64) -> Vec<FailureType> {
        let mut begun = Vec::new();
        for failure_type in FailureType::ALL {
            let present = match failure_type {
                FailureType::KvPreemption => {
                    rates.is_new_page && rates.preemptions.if_fresh().is_some_and(|rate| rate > 0.0)
                }
                other => conditions.iter().any(|condition| condition.failure_type == other),
            };
            let quiet = &mut self.quiet_secs[failure_type.index()];
            if present {
                if *quiet >= QUIET_SECS {
                    begun.push(failure_type);
                }
                *quiet = 0.0;
            } else {
                *quiet += dt_secs;
            }
        }
        begun
    }

    /// Whether forecasts of this type are scored now: the failure is absent and was absent lately.
    pub fn is_quiet(&self, failure_type: FailureType) -> bool {
        self.quiet_secs[failure_type.index()] >= QUIET_SECS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;

    #[test]
    fn a_preemption_is_an_onset_only_after_a_quiet_minute() {
        let mut onsets = Onsets::default();
        let page = |rate: f64| Rates {
            is_new_page: true,
            preemptions: Signal::fresh(rate, 0.0),
            ..Rates::default()
        };
        let kv = [FailureType::KvPreemption];
        assert_eq!(onsets.update(&[], &page(0.0), 1.0), []);
        assert_eq!(onsets.update(&[], &page(2.0), 1.0), kv);
        assert!(!onsets.is_quiet(FailureType::KvPreemption) && onsets.is_quiet(FailureType::Hang));
        for _ in 0..30 {
            assert_eq!(onsets.update(&[], &page(0.0), 1.0), []);
        }
        assert_eq!(onsets.update(&[], &page(1.0), 1.0), [], "30 s are not quiet");
        for _ in 0..60 {
            onsets.update(&[], &page(0.0), 1.0);
        }
        assert_eq!(onsets.update(&[], &page(1.0), 1.0), kv);
    }
}
