//! Guardrails: remove inadmissible actions before the choice.

mod breaker;
mod flap;
mod lease;
mod ledger;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use breaker::Breaker;
pub use flap::Flaps;
pub use lease::{FileLeases, Lease, LeaseStore, MemoryLeases};
pub use ledger::{Ledger, Pacing};

use crate::arm::{ArmSpec, Blast};
use crate::verify::HarmLimits;
use crate::{Evidence, Failure, Situation, Target, Time};

/// Whether actions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Only report what would be done.
    #[default]
    Observe,
    /// Execute actions.
    Act,
}

/// The guardrails' settings. An arm is one action of the catalogue. The defaults execute nothing: the mode is
/// `observe`, and no arm is enabled. Call [`Limits::problems`] after reading them from a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Whether actions are executed.
    pub mode: Mode,
    /// Arms that may be executed, by name. In the mode `observe` every arm may be suggested.
    pub allow: BTreeSet<Arc<str>>,
    /// Minimum probability for acting on a predicted failure.
    pub probability: f64,
    /// Seconds for which a failure must be seen before acting on it, unless one kind of evidence is
    /// sufficient.
    pub confirm_secs: f64,
    /// Kinds of evidence that must agree, unless one is sufficient alone.
    pub evidence_kinds: usize,
    /// Seconds between two uses of one arm on one target; doubled with each use within an hour. Also the seconds for
    /// which a lever that was taken back is not set again, by any arm.
    pub cooldown_secs: f64,
    /// Longest cool-down.
    pub longest_cooldown_secs: f64,
    /// Largest random extension of a cool-down, as a share of it, so that many targets do not act in step.
    pub jitter: f64,
    /// Longest time for which a lever stays set, by renewals and by actions that set it to another value. It is then
    /// taken back, to see whether the server manages without it.
    pub longest_lever_secs: f64,
    /// Most actions on one target within an hour; then an operator is called.
    pub per_hour: usize,
    /// Most consecutive actions on one target without progress, of any name; then an operator is called. Counted anew
    /// after progress, and after an hour without an action.
    pub without_progress: usize,
    /// Seconds of the first wait between restarts, doubled each time.
    pub restart_pause_secs: f64,
    /// Longest wait between restarts.
    pub longest_restart_pause_secs: f64,
    /// Seconds of uninterrupted service after which the restart counter is reset.
    pub healthy_secs: f64,
    /// Share of the fleet that may be acted on within `fleet_window_secs`; at least one target. Beyond
    /// it, the breaker trips.
    pub fleet_share: f64,
    /// Seconds over which the fleet's actions are counted.
    pub fleet_window_secs: f64,
    /// Probability of withholding an action, to observe the failure without it. 0 in production by default.
    pub hold_out: f64,
    /// Largest affected scope of an action against a predicted failure.
    pub blast_for_predictions: Blast,
    /// How much goodput may be lost before an action counts as harmful.
    pub harm: HarmLimits,
    /// Duration of a lease in seconds.
    pub lease_secs: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            allow: BTreeSet::new(),
            probability: 0.8,
            confirm_secs: 3.0,
            evidence_kinds: 2,
            cooldown_secs: 60.0,
            longest_cooldown_secs: 900.0,
            longest_lever_secs: 900.0,
            jitter: 0.2,
            per_hour: 12,
            without_progress: 3,
            restart_pause_secs: 10.0,
            longest_restart_pause_secs: 300.0,
            healthy_secs: 600.0,
            fleet_share: 0.3,
            fleet_window_secs: 300.0,
            hold_out: 0.0,
            blast_for_predictions: Blast::SomeRequests,
            harm: HarmLimits::default(),
            lease_secs: 600.0,
        }
    }
}

impl Limits {
    /// Every invalid value, with its bounds.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |name: &str, value: f64, least: f64, most: f64| {
            if !(least..=most).contains(&value) {
                problems.push(format!("{name} is {value}: it must be from {least} to {most}"));
            }
        };
        check("probability", self.probability, 0.0, 1.0);
        check("cooldown_secs", self.cooldown_secs, 1.0, 86_400.0);
        check(
            "longest_cooldown_secs",
            self.longest_cooldown_secs,
            self.cooldown_secs,
            86_400.0,
        );
        check("longest_lever_secs", self.longest_lever_secs, 0.0, 86_400.0);
        check("confirm_secs", self.confirm_secs, 0.0, 600.0);
        check("jitter", self.jitter, 0.0, 1.0);
        check("restart_pause_secs", self.restart_pause_secs, 1.0, 3600.0);
        check(
            "longest_restart_pause_secs",
            self.longest_restart_pause_secs,
            self.restart_pause_secs,
            86_400.0,
        );
        check("healthy_secs", self.healthy_secs, 1.0, 86_400.0);
        check("fleet_share", self.fleet_share, 0.0, 1.0);
        check("fleet_window_secs", self.fleet_window_secs, 1.0, 86_400.0);
        check("hold_out", self.hold_out, 0.0, 0.5);
        check("harm.share", self.harm.share, 0.0, 1.0);
        check("harm.deviations", self.harm.deviations, 0.0, 100.0);
        check("lease_secs", self.lease_secs, 10.0, 86_400.0);
        check("evidence_kinds", self.evidence_kinds as f64, 1.0, 5.0);
        check("per_hour", self.per_hour as f64, 1.0, 1000.0);
        check("without_progress", self.without_progress as f64, 1.0, 100.0);
        problems
    }
}

/// An arm that is not admissible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The arm.
    pub arm: Arc<str>,
    /// Why.
    pub why: Cow<'static, str>,
    /// Whether it will be admissible again after some time, so that no operator is needed yet.
    #[serde(default)]
    pub waits: bool,
}

impl Refusal {
    pub(crate) fn new(arm: &ArmSpec, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            arm: Arc::clone(&arm.name),
            why: why.into(),
            waits: false,
        }
    }

    /// One that ends by itself.
    pub(crate) fn for_now(arm: &ArmSpec, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            waits: true,
            ..Self::new(arm, why)
        }
    }
}

/// Whether the evidence for a failure is sufficient to act on it.
///
/// ```
/// use monitor_acting::{Evidence, EvidenceKind, guard::enough_evidence};
///
/// let kv = Evidence::new(EvidenceKind::KvCache, "KV use 0.97");
/// let queue = Evidence::new(EvidenceKind::Queue, "12 waiting");
/// let exit = Evidence::new(EvidenceKind::ProcessExit, "exit code 0, not asked for");
/// assert!(!enough_evidence(&[kv.clone(), kv.clone()], 2), "twice the same kind is one");
/// assert!(enough_evidence(&[kv, queue], 2));
/// assert!(enough_evidence(&[exit], 2));
/// ```
pub fn enough_evidence(evidence: &[Evidence], kinds: usize) -> bool {
    let found: BTreeSet<_> = evidence.iter().map(|e| e.kind).collect();
    found.len() >= kinds || found.iter().any(|kind| kind.is_sufficient())
}

/// What [`Limits::refuse`] needs to know.
pub(crate) struct Question<'a> {
    pub(crate) situation: &'a Situation,
    pub(crate) failure: &'a Failure,
    pub(crate) target: &'a Target,
    pub(crate) ledger: &'a Ledger,
    /// Arms that were tried in this episode and did not help.
    pub(crate) failed: &'a BTreeSet<Arc<str>>,
}

impl Limits {
    /// Why one arm is not admissible, apart from capabilities of the target.
    pub(crate) fn refuse(&self, arm: &ArmSpec, question: &Question<'_>) -> Option<Refusal> {
        let now = question.situation.at;
        let because = |why: &'static str| Some(Refusal::new(arm, why));
        if !self.allow.contains(&arm.name) {
            return because("it is not opted in");
        }
        if let Some(why) = question.situation.vetoes.get(&arm.name) {
            return Some(Refusal::new(arm, why.clone()));
        }
        if question.failed.contains(&arm.name) {
            return because("it did not help in this episode");
        }
        if !question.failure.present && arm.blast > self.blast_for_predictions {
            return because("it affects too much for a failure that is only predicted");
        }
        if arm.restarts {
            if let Some(owner) = &question.target.restart_owner {
                return Some(Refusal::new(arm, format!("{owner} restarts this server")));
            }
            let wait = question.ledger.restart_wait_secs(now, self);
            if wait > 0.0 {
                let why = format!("the next restart is possible in {wait:.0} s");
                return Some(Refusal::for_now(arm, why));
            }
        }
        let wait = question.ledger.cooldown_secs(&arm.name, now);
        if wait > 0.0 {
            return Some(Refusal::for_now(
                arm,
                format!("it cools down for {wait:.0} s more"),
            ));
        }
        None
    }

    /// Largest number of targets that may be acted on within the window.
    ///
    /// ```
    /// use monitor_acting::guard::Limits;
    ///
    /// let limits = Limits::default();
    /// assert_eq!((limits.fleet_most(1), limits.fleet_most(3), limits.fleet_most(20)), (1, 1, 6));
    /// ```
    pub fn fleet_most(&self, targets: usize) -> usize {
        ((targets as f64 * self.fleet_share + 1e-9).floor() as usize).max(1)
    }
}

/// Recent actions over all targets, to bound how many are affected at a time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Fleet {
    acted: BTreeMap<Arc<str>, Time>,
}

impl Fleet {
    /// Whether acting on this target stays within the bound: `Err` with the number of targets acted on.
    pub(crate) fn permits(
        &mut self,
        target: &str,
        now: Time,
        limits: &Limits,
        targets: usize,
    ) -> Result<(), usize> {
        self.acted
            .retain(|_, at| now.secs_since(*at) < limits.fleet_window_secs);
        let acted = self.acted.len();
        if self.acted.contains_key(target) || acted < limits.fleet_most(targets) {
            Ok(())
        } else {
            Err(acted)
        }
    }

    pub(crate) fn note(&mut self, target: &Arc<str>, now: Time) {
        self.acted.insert(Arc::clone(target), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_permits_nothing() {
        let limits = Limits::default();
        assert_eq!(limits.mode, Mode::Observe);
        assert!(limits.allow.is_empty());
        assert_eq!(limits.hold_out, 0.0);
        assert_eq!(limits.problems(), Vec::<String>::new());
    }

    #[test]
    fn values_out_of_bounds_are_named() {
        let limits = Limits {
            hold_out: 0.9,
            fleet_share: f64::NAN,
            harm: HarmLimits {
                share: -0.1,
                deviations: f64::INFINITY,
            },
            ..Limits::default()
        };
        let problems = limits.problems().join(" ");
        for name in ["hold_out", "fleet_share", "harm.share", "harm.deviations"] {
            assert!(problems.contains(name), "{name}: {problems}");
        }
    }

    #[test]
    fn a_fleet_is_acted_on_in_part() {
        let (mut fleet, limits) = (Fleet::default(), Limits::default());
        let now = Time::from_secs_f64(1000.0);
        let mut permitted = 0;
        for i in 0..20 {
            let name: Arc<str> = format!("t{i}").into();
            if fleet.permits(&name, now, &limits, 20).is_ok() {
                fleet.note(&name, now);
                permitted += 1;
            }
        }
        assert_eq!(permitted, 6);
        assert!(
            fleet.permits("t0", now, &limits, 20).is_ok(),
            "it was counted already"
        );
        assert!(fleet.permits("t19", now.plus_secs(301.0), &limits, 20).is_ok());
    }
}
