//! What the core orders, and what the shell reports back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::guard::Refusal;
use crate::learn::Context;
use crate::verify::{Effect, Verdict};
use crate::{Evidence, Time};

/// Number of a decision, unique over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u64);

/// Which requests are aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Those that arrived last.
    Newest,
    /// Those that hold the most tokens.
    Longest,
}

impl Which {
    /// Key of the levers' route.
    pub fn key(self) -> &'static str {
        match self {
            Self::Newest => "abort_newest",
            Self::Longest => "abort_longest",
        }
    }
}

/// One thing to do to a target, as data. Actuators carry it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Set a lever in the engine. The engine takes it back by itself after `ttl_secs`.
    SetLever {
        /// The lever.
        lever: Cow<'static, str>,
        /// Its value.
        value: f64,
        /// Seconds after which the engine restores the value before.
        ttl_secs: f64,
    },
    /// Restore a lever's value.
    ResetLever {
        /// The lever.
        lever: Cow<'static, str>,
    },
    /// Abort requests under way.
    Abort {
        /// Which.
        which: Which,
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
        /// What it is asked to do.
        #[serde(default)]
        change: Cow<'static, str>,
    },
    /// An action of a strategy of one's own; its strategy's name is the intent's arm.
    Own {
        /// Whatever the strategy needs.
        payload: serde_json::Value,
    },
}

/// What a strategy wants done, and how it is taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In this order; the first that fails ends it.
    pub actions: Vec<Action>,
    /// How it is taken back; empty if it cannot be.
    pub revert: Vec<Action>,
    /// Seconds for which it stands; `None` if it does not stand.
    pub ttl_secs: Option<f64>,
    /// What it should move.
    pub effect: Effect,
}

/// An action that is to be carried out, with everything that the decision rested on.
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
    /// Against which failure.
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
    /// Whether chance withheld an action, so that the failure shows without one.
    pub held_out: bool,
    /// Signals when it was decided.
    pub inputs: BTreeMap<Cow<'static, str>, f64>,
    /// Arms that were not admissible, and why.
    pub refused: Vec<Refusal>,
    /// Fencing token: an actuator refuses a smaller one than it has seen.
    pub fence: u64,
    /// Version of policy and arms.
    pub policy_version: Cow<'static, str>,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The decision.
    pub ticket: Ticket,
    /// The target.
    pub target: Arc<str>,
    /// The arm.
    pub arm: Arc<str>,
    /// Against which failure.
    pub failure: Arc<str>,
    /// When it was judged.
    pub at: Time,
    /// What came of it.
    pub verdict: Verdict,
    /// Reward that the learner was given; `None` if the outcome is unknown and was not counted.
    pub reward: Option<f64>,
    /// Whether it was withheld by chance.
    pub held_out: bool,
}

/// What the shell has to do or to report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// Write the intent to the audit, then carry it out, then call [`crate::Actor::report`].
    Act(Box<Intent>),
    /// In observe mode: what would be done.
    Would(Box<Intent>),
    /// Take an action back.
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
        /// Fencing token.
        fence: u64,
    },
    /// An action was judged.
    Settled(Settled),
    /// Nothing that is allowed is left: call a person.
    Escalate {
        /// The target.
        target: Arc<str>,
        /// The failure.
        failure: Arc<str>,
        /// Why.
        why: String,
    },
    /// The breaker tripped: everything only observes until it is reset by hand.
    BreakerTripped {
        /// Why.
        why: String,
    },
}
