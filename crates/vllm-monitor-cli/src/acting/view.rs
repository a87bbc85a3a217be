//! What the acting part shows: its status, and its recommendations.

use std::sync::{Arc, PoisonError};

use monitor_acting::Actor;
use monitor_acting::arm::NOTHING;
use monitor_acting::guard::Mode;
use monitor_acting::learn::{Recommendation, Rule};
use monitor_acting::shell::lock;
use monitor_acting::verify::Outcome;
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::hub::rfc3339;

/// What the acting part does now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ActingStatus {
    /// `observe` or `act`.
    pub mode: Mode,
    /// Whether actions are carried out now.
    pub acts: bool,
    /// Why not, if they are not.
    pub why_not: Option<String>,
    /// Whether the kill switch is on.
    pub kill_switch: bool,
    /// Why the breaker tripped, if it did.
    pub breaker: Option<String>,
    /// Actions under way or in effect.
    #[serde(alias = "standing")]
    pub in_effect: Vec<ActionInEffect>,
    /// Each action on each target: enabled, supported, and why not.
    pub actions: Vec<ActionStatus>,
    /// Targets for which a person is needed, and why.
    pub escalated: std::collections::BTreeMap<String, String>,
    /// Decisions so far.
    pub decisions: u64,
    /// Situations that were dropped, since too many waited.
    pub dropped_situations: u64,
    /// The best action against each failure.
    pub best: Vec<Best>,
    /// What went wrong last: actions, reverts, the audit.
    pub problems: Vec<String>,
    /// The audit.
    pub audit_file: Option<String>,
}

impl ActingStatus {
    /// Whether an action is under way or in effect.
    pub fn is_under_way(&self) -> bool {
        self.in_effect.iter().any(|action| action.action != NOTHING)
    }
}

/// One action under way or in effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionInEffect {
    /// Its number.
    pub ticket: u64,
    /// The target.
    pub target: String,
    /// The action.
    pub action: String,
    /// Against what.
    pub failure: String,
    /// Why.
    pub reason: String,
    /// When it was decided, RFC 3339 in UTC.
    pub since: String,
    /// The verdict, once there is one.
    pub verdict: Option<Outcome>,
}

/// One action on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionStatus {
    /// The target.
    pub target: String,
    /// The action.
    pub action: String,
    /// Whether it was enabled by name.
    pub enabled: bool,
    /// Whether the target supports it.
    pub supported: bool,
    /// Why not.
    pub why_not: Option<String>,
}

/// The best action against a failure of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The target.
    pub target: String,
    /// The failure.
    pub failure: String,
    /// The action.
    pub action: String,
    /// Probability that it is better than doing nothing.
    pub confidence: f64,
}

/// The answer of `/recommendations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// Whether actions are carried out now.
    pub acts: bool,
    /// Why not, if they are not.
    pub why_not: Option<String>,
    /// Recommended actions by target and failure, best first.
    pub recommendations: Vec<Recommended>,
    /// What was learned, as rules.
    pub rules: Vec<Rule>,
}

/// Recommended actions against one failure of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommended {
    /// The target.
    pub target: String,
    /// The failure.
    pub failure: String,
    /// Best first.
    pub actions: Vec<Recommendation>,
}

/// Brings the status up to date.
pub(super) fn refresh(shared: &Shared) {
    let audited = lock(&shared.audited);
    let (actor, limits) = (&audited.actor, audited.actor.limits());
    let why_not = actor.acts().err();
    let memory = actor.memory();
    let in_effect = memory.in_effect.iter().map(|action| ActionInEffect {
        ticket: action.intent.ticket.0,
        target: action.intent.target.to_string(),
        action: action.intent.arm.to_string(),
        failure: action.intent.failure.to_string(),
        reason: action.intent.reason.clone(),
        since: rfc3339(action.intent.at.as_millis().saturating_mul(1_000_000)),
        verdict: action.verdict.as_ref().map(|verdict| verdict.outcome),
    });
    let mut actions = Vec::new();
    for name in shared.settings.targets.keys() {
        let Some(target) = actor.target(name) else {
            continue;
        };
        for support in actor.strategies().catalogue().support(target) {
            let why_not = if target.excluded {
                Some("the target is excluded from actions".to_owned())
            } else {
                (!support.unsupported.is_empty()).then(|| support.unsupported.join("; "))
            };
            actions.push(ActionStatus {
                target: name.to_string(),
                action: support.arm.to_string(),
                enabled: limits.allow.contains(&support.arm),
                supported: why_not.is_none(),
                why_not,
            });
        }
    }
    let fresh = ActingStatus {
        mode: limits.mode,
        acts: why_not.is_none(),
        why_not,
        kill_switch: actor.is_killed(),
        breaker: memory.breaker.why().map(str::to_owned),
        in_effect: in_effect.collect(),
        actions,
        decisions: memory.decisions,
        audit_file: audited
            .audit
            .as_ref()
            .and_then(|_| shared.settings.audit_file())
            .map(|path| path.display().to_string()),
        ..ActingStatus::default()
    };
    let mut best = Vec::new();
    for (target, failure, actions) in recommended(shared, actor, None, None) {
        if let Some(action) = actions.iter().find(|action| action.unsupported.is_empty()) {
            best.push(Best {
                target: target.to_string(),
                failure: failure.to_string(),
                action: action.strategy.to_string(),
                confidence: action.confidence,
            });
        }
    }
    drop(audited);
    let mut status = shared.status.lock().unwrap_or_else(PoisonError::into_inner);
    *status = ActingStatus {
        escalated: std::mem::take(&mut status.escalated),
        problems: std::mem::take(&mut status.problems),
        best,
        ..fresh
    };
}

type OfTarget = (Arc<str>, Arc<str>, Vec<Recommendation>);

/// Recommendations by target and failure.
fn recommended(shared: &Shared, actor: &Actor, target: Option<&str>, failure: Option<&str>) -> Vec<OfTarget> {
    let failures = &actor.strategies().catalogue().window_secs;
    let mut all = Vec::new();
    for name in shared.settings.targets.keys() {
        if target.is_some_and(|wanted| wanted != name.as_ref()) {
            continue;
        }
        for known in failures.keys() {
            if failure.is_some_and(|wanted| wanted != known.as_ref()) {
                continue;
            }
            let actions = actor.get_learning_recommendations(name, known, None);
            if !actions.is_empty() {
                all.push((Arc::clone(name), Arc::clone(known), actions));
            }
        }
    }
    all
}

pub(super) fn advice(shared: &Shared, target: Option<&str>, failure: Option<&str>) -> Advice {
    let audited = lock(&shared.audited);
    let actor = &audited.actor;
    let why_not = actor.acts().err();
    let recommendations = recommended(shared, actor, target, failure);
    Advice {
        acts: why_not.is_none(),
        why_not,
        recommendations: recommendations
            .into_iter()
            .map(|(target, failure, actions)| Recommended {
                target: target.to_string(),
                failure: failure.to_string(),
                actions,
            })
            .collect(),
        rules: actor.rules(),
    }
}
