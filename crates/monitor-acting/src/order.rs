//! Orders of the core, and reports of the shell.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::guard::Refusal;
use crate::learn::Context;
use crate::verify::{Effect, Outcome, Verdict};
use crate::{Evidence, Time};

/// Number of a decision, unique across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u64);

/// Which requests are aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortOrder {
    /// Those that arrived last.
    Newest,
    /// Those that hold the most tokens.
    Longest,
}

/// One operation on a target, as data. Actuators execute it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Set a lever in the engine. The engine resets it by itself after `ttl_secs`.
    SetLever {
        /// The lever.
        lever: Cow<'static, str>,
        /// Its value.
        value: f64,
        /// Seconds after which the engine restores the previous value.
        ttl_secs: f64,
    },
    /// Restore a lever's value.
    ResetLever {
        /// The lever.
        lever: Cow<'static, str>,
    },
    /// Abort requests in flight.
    Abort {
        /// Which.
        which: AbortOrder,
        /// How many.
        count: u64,
    },
    /// One of the server's own control routes, sent by POST.
    Route {
        /// Path with query.
        path: Cow<'static, str>,
    },
    /// Restart the server's process group.
    Restart {
        /// Arguments to change: name and new value. Empty: the same command line.
        #[serde(default)]
        arguments: BTreeMap<String, String>,
    },
    /// Call something configured by the operator: a webhook, a command, a replica count.
    Hook {
        /// Name in the configuration.
        hook: Cow<'static, str>,
        /// The requested change.
        #[serde(default)]
        change: Cow<'static, str>,
    },
    /// An action of a custom strategy, whose name is the intent's arm.
    Own {
        /// Data for the strategy.
        payload: serde_json::Value,
    },
}

impl Action {
    /// The lever that it sets.
    pub(crate) fn set_lever(&self) -> Option<&Cow<'static, str>> {
        match self {
            Self::SetLever { lever, .. } => Some(lever),
            _ => None,
        }
    }

    /// The lever that it resets.
    pub(crate) fn reset_lever(&self) -> Option<&Cow<'static, str>> {
        match self {
            Self::ResetLever { lever } => Some(lever),
            _ => None,
        }
    }
}

/// The operations of a strategy, and how to revert them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In this order; the first failure stops it.
    pub actions: Vec<Action>,
    /// Operations that revert it; empty if it cannot be reverted.
    pub revert: Vec<Action>,
    /// Seconds for which it stays in effect; `None` if it has no lasting effect.
    pub ttl_secs: Option<f64>,
    /// The expected effect.
    pub effect: Effect,
}

/// An action to execute, with the complete basis of the decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Its number.
    pub ticket: Ticket,
    /// The target.
    pub target: Arc<str>,
    /// When it was decided.
    pub at: Time,
    /// Name of the strategy.
    pub arm: Arc<str>,
    /// The failure that it is against.
    pub failure: Arc<str>,
    /// Why, in words.
    pub reason: String,
    /// What to do.
    pub plan: Plan,
    /// When the effect is judged.
    pub deadline: Time,
    /// Evidence for the failure.
    pub evidence: Vec<Evidence>,
    /// The learning context.
    pub context: Context,
    /// Probability with which this arm was chosen.
    pub propensity: f64,
    /// The probabilities of all admissible arms.
    pub propensities: BTreeMap<Arc<str>, f64>,
    /// Whether an action was withheld at random, to observe the failure without one.
    pub held_out: bool,
    /// Signals when it was decided.
    pub inputs: BTreeMap<Cow<'static, str>, f64>,
    /// Arms that were not admissible, and why.
    pub refused: Vec<Refusal>,
    /// Fencing token: an actuator rejects one smaller than it has seen.
    pub fence: u64,
    /// Version of policy and arms.
    pub policy_version: Cow<'static, str>,
}

/// The result of an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The decision.
    pub ticket: Ticket,
    /// The target.
    pub target: Arc<str>,
    /// The arm.
    pub arm: Arc<str>,
    /// The failure that it was against.
    pub failure: Arc<str>,
    /// When it was judged.
    pub at: Time,
    /// The verdict.
    pub verdict: Verdict,
    /// Reward passed to the learner; `None` if the outcome is unknown and was not counted.
    pub reward: Option<f64>,
    /// Whether it was withheld at random.
    pub held_out: bool,
    /// The earlier outcome that this one replaces: harm that appeared after the action had been judged. Count the action
    /// once, with this outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Outcome>,
}

/// An order or a report of the core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// Write the intent to the audit, then execute it, then call [`crate::Actor::report`].
    Act(Box<Intent>),
    /// In observe mode: what would be done.
    Suggest(Box<Intent>),
    /// Set the levers of an action again before their time is over, with the same values: they are still needed. Write
    /// it to the audit first; if it fails, call [`crate::Actor::not_renewed`].
    Renew {
        /// The decision.
        ticket: Ticket,
        /// The target.
        target: Arc<str>,
        /// The arm.
        arm: Arc<str>,
        /// What to do.
        actions: Vec<Action>,
        /// Fencing token.
        fence: u64,
    },
    /// Revert an action.
    Revert {
        /// The decision.
        ticket: Ticket,
        /// The target.
        target: Arc<str>,
        /// The arm.
        arm: Arc<str>,
        /// What to do.
        actions: Vec<Action>,
        /// Why.
        why: Cow<'static, str>,
        /// Fencing token of the lease that is held now, which may be newer than that of the action.
        fence: u64,
    },
    /// An action is not reverted, because another monitor holds the lease of its target. A lever that was set ends in the
    /// engine when its time is over.
    NotReverted {
        /// The decision.
        ticket: Ticket,
        /// The target.
        target: Arc<str>,
        /// The arm.
        arm: Arc<str>,
        /// Why it should have been reverted.
        why: Cow<'static, str>,
    },
    /// An action was judged.
    Settled(Settled),
    /// No allowed action is left: call an operator.
    Escalate {
        /// The target.
        target: Arc<str>,
        /// The failure.
        failure: Arc<str>,
        /// Why.
        why: String,
    },
    /// The breaker tripped: actions are only observed until it is reset by hand.
    BreakerTripped {
        /// Why.
        why: String,
    },
}
