//! Judges the effect of an action against a forecast without it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::forecast::Expectation;

/// The direction in which an effect should move its signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Down, relative to the forecast without the action.
    Falls,
    /// Up, relative to the forecast without the action.
    Rises,
}

/// The effect that an action promises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// The signal that changes.
    pub signal: Cow<'static, str>,
    /// In which direction.
    pub change: Change,
    /// Relative change compared with the value without the action.
    pub by: f64,
    /// Seconds until it is judged.
    pub within_secs: f64,
}

/// The result of an action. The words are those common in vLLM monitors: success, partial success and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// The promised effect occurred.
    Success,
    /// The signal moved in the promised direction, less than promised and more than noise.
    PartialSuccess,
    /// It did not.
    Failure,
    /// Goodput is lower than it would have been.
    MadeWorse,
    /// It was not executed, or its effect could not be observed. Counts neither as success nor as failure.
    NotApplicable,
}

/// An outcome with the underlying numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// The signal used for the verdict.
    pub signal: Cow<'static, str>,
    /// Its value without the action, as forecast.
    pub expected_without: Option<f64>,
    /// Its value as observed.
    pub observed: Option<f64>,
    /// Goodput as forecast without the action, and as observed.
    pub goodput: Option<(f64, f64)>,
    /// In words.
    pub why: Cow<'static, str>,
}

/// How far goodput may fall below its forecast before an action counts as harmful.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HarmLimits {
    /// Share of the forecast that may be lost.
    pub share: f64,
    /// Standard deviations of the forecast that count as noise.
    pub deviations: f64,
}

impl Default for HarmLimits {
    fn default() -> Self {
        Self {
            share: 0.1,
            deviations: 2.0,
        }
    }
}

/// Forecast and observation of one signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// Without the action.
    pub expected: Expectation,
    /// With it.
    pub observed: f64,
}

impl HarmLimits {
    /// Whether goodput is below the forecast by more than noise and more than the tolerance.
    ///
    /// ```
    /// use monitor_acting::forecast::Expectation;
    /// use monitor_acting::verify::{Compared, HarmLimits};
    ///
    /// let limits = HarmLimits::default();
    /// let expected = Expectation { mean: 100.0, deviation: 4.0 };
    /// assert!(limits.is_harm(Compared { expected, observed: 70.0 }));
    /// assert!(!limits.is_harm(Compared { expected, observed: 95.0 }), "within what is tolerated");
    /// ```
    pub fn is_harm(&self, goodput: Compared) -> bool {
        let lost = goodput.expected.mean - goodput.observed;
        lost > self.share * goodput.expected.mean.abs() && lost > self.deviations * goodput.expected.deviation
    }
}

/// Judges an effect. `failure_gone` is true if the failure has ended.
///
/// If a signal cannot move further in the promised direction because it would be near zero anyway, the
/// verdict depends on whether the failure has ended.
pub fn judge(
    effect: &Effect,
    signal: Option<Compared>,
    goodput: Option<Compared>,
    failure_gone: bool,
    limits: &HarmLimits,
) -> Verdict {
    let verdict = |outcome, why: &'static str| Verdict {
        outcome,
        signal: effect.signal.clone(),
        expected_without: signal.map(|s| s.expected.mean),
        observed: signal.map(|s| s.observed),
        goodput: goodput.map(|g| (g.expected.mean, g.observed)),
        why: Cow::Borrowed(why),
    };
    if goodput.is_some_and(|goodput| limits.is_harm(goodput)) {
        return verdict(
            Outcome::MadeWorse,
            "goodput is lower than the forecast without the action",
        );
    }
    let Some(s) = signal else {
        return verdict(Outcome::NotApplicable, "the signal could not be observed");
    };
    let (expected, observed) = match effect.change {
        Change::Falls => (s.expected.mean, s.observed),
        // Mirrored, so that a rise is a fall.
        Change::Rises => (-s.expected.mean, -s.observed),
    };
    let moved = expected - observed;
    let promised = effect.by * s.expected.mean.abs();
    let noise = limits.deviations * s.expected.deviation;
    if effect.change == Change::Rises && s.expected.mean <= noise {
        // From zero, any level above the noise fulfils the promise.
        return if s.observed > noise.max(f64::EPSILON) {
            verdict(Outcome::Success, "the signal rose from nothing")
        } else {
            verdict(Outcome::Failure, "the signal did not rise")
        };
    }
    if moved >= promised && moved > noise.min(promised) && promised > 0.0 {
        verdict(Outcome::Success, "the signal moved as promised")
    } else if moved > noise && moved > promised / 2.0 {
        verdict(Outcome::PartialSuccess, "the signal moved less than promised")
    } else if failure_gone && moved >= 0.0 {
        verdict(
            Outcome::PartialSuccess,
            "the failure ended, and the signal does not show by what",
        )
    } else {
        verdict(Outcome::Failure, "the signal did not move as promised")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(expected: f64, deviation: f64, observed: f64) -> Option<Compared> {
        Some(Compared {
            expected: Expectation {
                mean: expected,
                deviation,
            },
            observed,
        })
    }

    fn effect(change: Change) -> Effect {
        Effect {
            signal: Cow::Borrowed("x"),
            change,
            by: 0.5,
            within_secs: 10.0,
        }
    }

    #[test]
    fn outcomes() {
        let limits = HarmLimits::default();
        let (falls, rises) = (effect(Change::Falls), effect(Change::Rises));
        let cases = [
            (&falls, compared(10.0, 1.0, 4.0), None, false, Outcome::Success),
            (
                &falls,
                compared(10.0, 1.0, 7.0),
                None,
                false,
                Outcome::PartialSuccess,
            ),
            (&falls, compared(10.0, 1.0, 9.5), None, false, Outcome::Failure),
            (
                &falls,
                compared(10.0, 1.0, 9.5),
                None,
                true,
                Outcome::PartialSuccess,
            ),
            (&falls, compared(10.0, 1.0, 15.0), None, true, Outcome::Failure),
            (&falls, None, None, false, Outcome::NotApplicable),
            (
                &falls,
                compared(10.0, 1.0, 1.0),
                compared(100.0, 5.0, 50.0),
                false,
                Outcome::MadeWorse,
            ),
            (
                &falls,
                compared(10.0, 1.0, 1.0),
                compared(100.0, 40.0, 50.0),
                false,
                Outcome::Success,
            ),
            (&rises, compared(0.0, 0.0, 1.0), None, false, Outcome::Success),
            (&rises, compared(0.0, 0.0, 0.0), None, false, Outcome::Failure),
            (&rises, compared(10.0, 1.0, 16.0), None, false, Outcome::Success),
            (&rises, compared(10.0, 1.0, 8.0), None, false, Outcome::Failure),
        ];
        for (effect, signal, goodput, gone, expected) in cases {
            let verdict = judge(effect, signal, goodput, gone, &limits);
            assert_eq!(verdict.outcome, expected, "{verdict:?}");
        }
    }
}
