//! How long loading phases took at earlier starts, and the deadlines learned from that.

use serde::{Deserialize, Serialize};

use crate::log::LoadPhase;

/// Durations of one phase at earlier starts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Durations {
    starts: f64,
    // Mean and sum of squared deviations of the logarithm of seconds.
    mean_ln: f64,
    squares_ln: f64,
    longest_secs: f64,
}

/// Starts needed before a deadline is learned.
const STARTS_TO_LEARN: f64 = 3.0;

/// How long phases took at earlier starts of a target. Survives a restart of the monitor.
///
/// ```
/// use vllm_monitor::lifecycle::LoadHistory;
/// use vllm_monitor::log::LoadPhase;
///
/// let mut history = LoadHistory::default();
/// assert_eq!(history.deadline_secs(LoadPhase::LoadWeights, 30.0, 600.0), 600.0, "nothing learned yet");
/// for secs in [40.0, 44.0, 42.0] {
///     history.add(LoadPhase::LoadWeights, secs);
/// }
/// let deadline = history.deadline_secs(LoadPhase::LoadWeights, 30.0, 600.0);
/// assert!((60.0..120.0).contains(&deadline), "{deadline}");
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoadHistory {
    phases: [Durations; LoadPhase::ALL.len()],
}

impl LoadHistory {
    /// A phase that ended took this long.
    pub fn add(&mut self, phase: LoadPhase, secs: f64) {
        if !secs.is_finite() || secs < 0.0 {
            return;
        }
        let known = &mut self.phases[phase as usize];
        let ln = secs.max(0.1).ln();
        known.starts += 1.0;
        let before = ln - known.mean_ln;
        known.mean_ln += before / known.starts;
        known.squares_ln += before * (ln - known.mean_ln);
        known.longest_secs = known.longest_secs.max(secs);
    }

    /// Starts in which the phase was seen from begin to end.
    pub fn starts(&self, phase: LoadPhase) -> u64 {
        self.phases[phase as usize].starts as u64
    }

    /// After how many seconds in this phase a start is late: the mean and three standard deviations of the logarithm,
    /// at least 1.5 times the longest ever, at least `floor_secs`. Before three starts, `budget_secs`.
    pub fn deadline_secs(&self, phase: LoadPhase, floor_secs: f64, budget_secs: f64) -> f64 {
        let known = &self.phases[phase as usize];
        if known.starts < STARTS_TO_LEARN {
            return budget_secs;
        }
        let deviation = (known.squares_ln / (known.starts - 1.0)).sqrt().max(0.1);
        (known.mean_ln + 3.0 * deviation)
            .exp()
            .max(1.5 * known.longest_secs)
            .max(floor_secs)
    }

    /// Seconds that remain until the server is ready, by the means of earlier starts; `None` if a phase was never
    /// seen.
    pub fn remaining_secs(&self, phase: LoadPhase, in_phase_secs: f64) -> Option<f64> {
        let mean = |phase: LoadPhase| {
            let known = &self.phases[phase as usize];
            (known.starts > 0.0).then(|| known.mean_ln.exp())
        };
        let this = (mean(phase)? - in_phase_secs).max(0.0);
        // Phases that this server skips were never seen and take no time.
        let later = LoadPhase::ALL
            .into_iter()
            .filter(|p| *p > phase)
            .filter_map(mean)
            .sum::<f64>();
        Some(this + later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_follow_the_target_and_never_fall_below_what_was_seen() {
        let mut history = LoadHistory::default();
        for secs in [5.0, 6.0, 5.5, 40.0] {
            history.add(LoadPhase::Compile, secs);
        }
        assert!(history.deadline_secs(LoadPhase::Compile, 30.0, 600.0) >= 60.0);
        assert_eq!(history.deadline_secs(LoadPhase::KvCache, 30.0, 600.0), 600.0);
        history.add(LoadPhase::Compile, f64::NAN);
        assert_eq!(history.starts(LoadPhase::Compile), 4);
    }

    #[test]
    fn the_rest_of_a_start_is_the_sum_of_what_is_left() {
        let mut history = LoadHistory::default();
        history.add(LoadPhase::LoadWeights, 40.0);
        history.add(LoadPhase::KvCache, 5.0);
        let left = history
            .remaining_secs(LoadPhase::LoadWeights, 10.0)
            .expect("seen before");
        assert!((left - 35.0).abs() < 1e-6, "{left}");
        assert_eq!(history.remaining_secs(LoadPhase::Compile, 0.0), None);
    }
}
