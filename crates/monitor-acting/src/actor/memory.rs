//! The state that survives a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forecast::Expectation;
use crate::guard::{Breaker, Fleet, Ledger, Limits};
use crate::learn::{Learned, Learner};
use crate::verify::{Outcome, Verdict};
use crate::{Intent, Time};

/// All state that survives a restart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Decisions made so far.
    pub decisions: u64,
    /// What was learned.
    pub learner: Learner,
    /// The breaker.
    pub breaker: Breaker,
    /// Outcomes so far, by arm.
    pub tallies: BTreeMap<Arc<str>, Tally>,
    pub(crate) ledgers: BTreeMap<Arc<str>, Ledger>,
    pub(crate) fleet: Fleet,
    /// Usual goodput without failures, and when it was last updated.
    pub(crate) usual: BTreeMap<Arc<str>, (f64, Time)>,
    /// Actions in effect or not yet settled.
    #[serde(alias = "standing")]
    pub in_effect: Vec<ActionInForce>,
}

impl Memory {
    pub(crate) fn has_action_on(&self, target: &str) -> bool {
        self.in_effect.iter().any(|s| s.intent.target.as_ref() == target)
    }

    /// After loading, limits times in the future to their possible maximum.
    pub(crate) fn sanitize(&mut self, now: Time, limits: &Limits) {
        for ledger in self.ledgers.values_mut() {
            ledger.sanitize(now, limits);
        }
        for (_, at) in self.usual.values_mut() {
            *at = (*at).min(now);
        }
        for action in &mut self.in_effect {
            if action.intent.at > now {
                // The clock went back: actions in progress cannot be judged.
                action.window_ends = now;
                action.intent.deadline = now;
                action.revert_at = action.revert_at.map(|_| now);
            }
        }
    }
}

/// Outcomes of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Decisions for it.
    pub chosen: u64,
    /// Effects as promised.
    pub success: u64,
    /// Effects smaller than promised.
    pub partial: u64,
    /// No effect.
    pub failure: u64,
    /// Harm.
    pub worse: u64,
    /// Unknown.
    pub not_applicable: u64,
    /// Reverted before their time was over.
    pub reverted: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, outcome: Outcome) {
        *self.of(outcome) += 1;
    }

    /// Counts an action whose outcome was counted before with another one.
    pub(crate) fn recount(&mut self, before: Outcome, now: Outcome) {
        let earlier = self.of(before);
        *earlier = earlier.saturating_sub(1);
        self.count(now);
    }

    fn of(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Success => &mut self.success,
            Outcome::PartialSuccess => &mut self.partial,
            Outcome::Failure => &mut self.failure,
            Outcome::MadeWorse => &mut self.worse,
            Outcome::NotApplicable => &mut self.not_applicable,
        }
    }
}

/// An action in effect or not yet settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionInForce {
    /// The decision.
    pub intent: Intent,
    /// The promised signal without the action, at the deadline.
    pub expected: Option<Expectation>,
    /// Goodput without the action, at the deadline.
    pub goodput: Option<Expectation>,
    /// Goodput that corresponds to a reward of 1.
    pub reference: f64,
    /// Cost of the arm.
    pub cost: f64,
    /// Whether it restarts the server.
    pub restarts: bool,
    /// When its reward is complete.
    pub window_ends: Time,
    /// When to revert it; `None` if it has no lasting effect, or was reverted.
    pub revert_at: Option<Time>,
    /// The time before the last renewal, to which `revert_at` returns if that fails.
    #[serde(default)]
    pub renewed_from: Option<Time>,
    /// Since when its levers are set, by it or by actions whose levers it took over.
    #[serde(default)]
    pub lever_since: Time,
    /// The verdict, once there is one.
    pub verdict: Option<Verdict>,
    /// Whether the learner was updated.
    pub settled: bool,
    /// What the learner was updated with, to revise it if harm appears later.
    #[serde(default)]
    pub(crate) learned: Option<Learned>,
    /// Goodput since the decision: sum and number of samples.
    pub earned: (f64, u64),
    /// Consecutive samples that showed harm.
    pub harmed: u32,
}

impl ActionInForce {
    /// Mean goodput since the decision; `None` if nothing was observed.
    pub(crate) fn earned_mean(&self) -> Option<f64> {
        let (sum, n) = self.earned;
        (n > 0).then(|| sum / n as f64)
    }

    /// Share of the reference kept over the window, less cost; `None` if nothing was observed.
    ///
    /// If the action ended before its window, the rest of the window counts with `level`, the goodput at its end.
    /// Otherwise an action that is reverted early would not pay for what it led to, and actions judged at their
    /// deadline could not be compared with those that stay until the window ends.
    pub(crate) fn reward(&self, ended: Time, level: Option<f64>) -> Option<f64> {
        let earned = self.earned_mean()?;
        let window = self.window_ends.secs_since(self.intent.at);
        let rest = if window > 0.0 {
            (self.window_ends.secs_since(ended) / window).clamp(0.0, 1.0)
        } else {
            0.0
        };
        self.kept(earned + rest * (level.unwrap_or(earned) - earned))
    }

    /// Share of the reference that this goodput is, less cost; `None` without a reference.
    pub(crate) fn kept(&self, goodput: f64) -> Option<f64> {
        let share = (self.reference > 0.0).then(|| (goodput / self.reference).clamp(0.0, 1.0))?;
        Some((share - self.cost).clamp(-1.0, 1.0))
    }
}
