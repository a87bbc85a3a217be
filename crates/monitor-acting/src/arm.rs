//! Actions as data: requirements, effects, costs and promises. The built-in ones are in
//! `configs/monitor/arms.toml`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::verify::Effect;
use crate::{AbortOrder, Action, SIGNALS, Target, signal};

const BUILT_IN: &str = include_str!("../../../configs/monitor/arms.toml");

/// The name of the arm that does nothing. It always exists and is always admissible.
pub const NOTHING: &str = "nothing";

/// What an action affects, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blast {
    /// Nothing.
    None,
    /// Requests that have not been admitted.
    NewRequests,
    /// Some of the requests in flight.
    SomeRequests,
    /// All requests in flight.
    AllRequests,
    /// Other servers too.
    Fleet,
}

/// Prior belief about an arm, before any observation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prior {
    /// Expected reward: share of the usual goodput kept over the window, less the arm's cost.
    pub mean: f64,
    /// Its weight in observations.
    pub weight: f64,
}

/// An arm against one failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureResponse {
    /// Prior belief.
    pub prior: Prior,
    /// The expected effect.
    pub effect: Effect,
}

/// A value computed from a signal when the action is planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaled {
    /// Signals whose sum is scaled.
    pub of: Vec<Cow<'static, str>>,
    /// The factor.
    pub factor: f64,
    /// Lower bound.
    pub floor: f64,
    /// Upper bound.
    #[serde(default = "no_ceiling")]
    pub ceiling: f64,
}

fn no_ceiling() -> f64 {
    f64::MAX
}

/// One step of an action, as written in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum StepAction {
    /// Set a lever to a fixed value.
    Lever {
        /// The lever.
        lever: Cow<'static, str>,
        /// Its value.
        value: f64,
    },
    /// Set a lever to a share of the current value.
    ScaledLever {
        /// The lever.
        lever: Cow<'static, str>,
        /// How its value is computed.
        scaled: Scaled,
    },
    /// Abort a share of the running requests, at least one.
    Abort {
        /// Which.
        abort: AbortOrder,
        /// Share of the running requests.
        share: f64,
    },
    /// One of the server's own routes.
    Route {
        /// Path with query.
        route: Cow<'static, str>,
    },
    /// Restart the process group.
    Restart {
        /// Arguments to change.
        restart: BTreeMap<String, String>,
    },
    /// Call what the operator configured.
    Hook {
        /// Its name.
        hook: Cow<'static, str>,
        /// The requested change.
        #[serde(default)]
        change: Cow<'static, str>,
    },
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmSpec {
    /// Its name, by which it is enabled.
    pub name: Arc<str>,
    /// One sentence.
    pub title: String,
    /// Rank from mild to severe, 0 to 8.
    pub severity: u8,
    /// What it affects.
    pub blast: Blast,
    /// Required capabilities of the target.
    #[serde(default)]
    pub requires: BTreeSet<Arc<str>>,
    /// Whether it restarts the server.
    #[serde(default)]
    pub restarts: bool,
    /// Share of goodput that it costs while in effect, subtracted from its reward.
    pub cost: f64,
    /// Seconds for which it stays in effect before it is reverted; absent if it has no lasting effect.
    #[serde(default)]
    pub ttl_secs: Option<f64>,
    /// Its steps.
    #[serde(default)]
    pub steps: Vec<StepAction>,
    /// Steps that revert it, except for levers, which are always reset.
    #[serde(default)]
    pub revert: Vec<StepAction>,
    /// Against which failures.
    pub against: BTreeMap<Arc<str>, FailureResponse>,
    /// Side effects, in words.
    #[serde(default)]
    pub side_effects: String,
}

/// A name used in documents and other monitors, mapped to existing arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownName {
    /// The name.
    pub name: String,
    /// The arms that match the name, mildest first. Empty: there are none.
    #[serde(default)]
    pub arms: Vec<Arc<str>>,
    /// Remarks on what is possible.
    pub note: String,
}

/// The arms and known names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Changes with every change of the file.
    pub version: String,
    /// Seconds over which the reward of an action is measured, by failure. All arms against one failure share
    /// it, so that their rewards are comparable.
    pub window_secs: BTreeMap<Arc<str>, f64>,
    /// Why a capability is missing, unless the target gives a reason.
    pub capabilities: BTreeMap<Arc<str>, String>,
    /// The arms.
    #[serde(rename = "arm")]
    pub arms: Vec<ArmSpec>,
    /// Names from other documents.
    #[serde(rename = "known_name", default)]
    pub known_names: Vec<KnownName>,
}

/// Whether an arm can be used on a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// The arm.
    pub arm: Arc<str>,
    /// Why not; empty if it can.
    pub unsupported: Vec<String>,
}

impl std::fmt::Display for Support {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.unsupported.is_empty() {
            write!(f, "{}: supported", self.arm)
        } else {
            write!(
                f,
                "{}: unsupported here: {}",
                self.arm,
                self.unsupported.join("; ")
            )
        }
    }
}

impl Catalogue {
    /// The built-in arms.
    pub fn built_in() -> Self {
        Self::parse("arms.toml", BUILT_IN).expect("a test parses the built-in arms")
    }

    /// Reads a file of arms.
    ///
    /// # Errors
    /// [`Error::Data`] with every problem found, by arm and key.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let data = |problems| Error::Data {
            file: file.to_owned(),
            problems,
        };
        let catalogue: Self = toml::from_str(text).map_err(|e| data(vec![e.to_string()]))?;
        let problems = catalogue.problems();
        if problems.is_empty() {
            Ok(catalogue)
        } else {
            Err(data(problems))
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        for arm in &self.arms {
            let mut wrong = |what: String| problems.push(format!("arm {}: {what}", arm.name));
            if !names.insert(&arm.name) {
                wrong("its name is used twice".into());
            }
            if arm.severity > 8 {
                wrong("severity is 0 to 8".into());
            }
            if !(0.0..=1.0).contains(&arm.cost) {
                wrong("cost is 0 to 1".into());
            }
            if arm.ttl_secs.is_some_and(|ttl| !(1.0..=86_400.0).contains(&ttl)) {
                wrong("ttl_secs is 1 to 86400".into());
            }
            let sets_lever = arm
                .steps
                .iter()
                .any(|step| matches!(step, StepAction::Lever { .. } | StepAction::ScaledLever { .. }));
            if sets_lever && arm.ttl_secs.is_none() {
                wrong("a lever needs ttl_secs, so that it does not outlive the monitor".into());
            }
            if arm.steps.is_empty() && arm.name.as_ref() != NOTHING {
                wrong("it does nothing".into());
            }
            for need in &arm.requires {
                if !self.capabilities.contains_key(need) {
                    wrong(format!("requires {need}, which is not in [capabilities]"));
                }
            }
            for (failure, against) in &arm.against {
                if !self.window_secs.contains_key(failure) {
                    wrong(format!("against {failure}, which has no entry in [window_secs]"));
                } else if against.effect.within_secs > self.window_secs[failure] {
                    wrong(format!("against {failure}: it is judged after the window ends"));
                }
                if !SIGNALS.iter().any(|(name, _)| *name == against.effect.signal) {
                    wrong(format!("{} is not a signal", against.effect.signal));
                }
                let Prior { mean, weight } = against.prior;
                if !(-1.0..=1.0).contains(&mean) || !(0.1..=1e6).contains(&weight) {
                    wrong(format!(
                        "against {failure}: a prior's mean is -1 to 1 and its weight at least 0.1"
                    ));
                }
                if !(0.0..=1.0).contains(&against.effect.by) || against.effect.within_secs < 1.0 {
                    wrong(format!(
                        "against {failure}: by is 0 to 1 and within_secs at least 1"
                    ));
                }
            }
        }
        for known in &self.known_names {
            for arm in &known.arms {
                if !names.contains(arm) {
                    problems.push(format!("name {}: there is no arm {arm}", known.name));
                }
            }
        }
        if !names.contains(&Arc::from(NOTHING)) {
            problems.push(format!("there is no arm {NOTHING}"));
        }
        problems
    }

    /// Why a target cannot do what an arm requires; empty if it can.
    pub fn missing(&self, requires: &BTreeSet<Arc<str>>, target: &Target) -> Vec<String> {
        requires
            .iter()
            .filter(|need| !target.capabilities.contains(*need))
            .map(|need| {
                target
                    .reasons
                    .get(need)
                    .or_else(|| self.capabilities.get(need))
                    .cloned()
                    .unwrap_or_else(|| format!("the target has no {need}"))
            })
            .collect()
    }

    /// Every arm, with the reason if it cannot be used on this target. Shown at program start.
    pub fn support(&self, target: &Target) -> Vec<Support> {
        self.arms
            .iter()
            .map(|arm| Support {
                arm: Arc::clone(&arm.name),
                unsupported: self.missing(&arm.requires, target),
            })
            .collect()
    }

    /// The meaning of a name from other documents: its note, and the support of each of its arms.
    pub fn resolve(&self, name: &str, target: &Target) -> Option<(&KnownName, Vec<Support>)> {
        let known = self
            .known_names
            .iter()
            .find(|known| known.name.eq_ignore_ascii_case(name))?;
        let support = self.support(target);
        let arms = known
            .arms
            .iter()
            .filter_map(|arm| support.iter().find(|s| s.arm == *arm).cloned())
            .collect();
        Some((known, arms))
    }
}

impl StepAction {
    /// The action, with values computed from signals.
    ///
    /// # Errors
    /// Which required signal is not fresh.
    pub(crate) fn plan(
        &self,
        value_of: impl Fn(&str) -> Option<f64>,
        ttl_secs: f64,
    ) -> std::result::Result<Action, Cow<'static, str>> {
        Ok(match self {
            Self::Lever { lever, value } => Action::SetLever {
                lever: lever.clone(),
                value: *value,
                ttl_secs,
            },
            Self::ScaledLever { lever, scaled } => {
                let mut sum = 0.0;
                for name in &scaled.of {
                    sum += value_of(name).ok_or_else(|| {
                        Cow::Owned(format!("{name} is not known, from which {lever} is computed"))
                    })?;
                }
                Action::SetLever {
                    lever: lever.clone(),
                    value: (sum * scaled.factor).floor().clamp(scaled.floor, scaled.ceiling),
                    ttl_secs,
                }
            }
            Self::Abort { abort, share } => {
                let running = value_of(signal::RUNNING)
                    .ok_or(Cow::Borrowed("how many requests are running is not known"))?;
                Action::Abort {
                    which: *abort,
                    count: (running * share).ceil().max(1.0) as u64,
                }
            }
            Self::Route { route } => Action::Route { path: route.clone() },
            Self::Restart { restart } => Action::Restart {
                arguments: restart.clone(),
            },
            Self::Hook { hook, change } => Action::Hook {
                hook: hook.clone(),
                change: change.clone(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_arms_are_valid_and_cover_every_failure() {
        let catalogue = Catalogue::built_in();
        for failure in catalogue.window_secs.keys() {
            let arms: Vec<_> = catalogue
                .arms
                .iter()
                .filter(|arm| arm.name.as_ref() != NOTHING && arm.against.contains_key(failure))
                .collect();
            assert!(!arms.is_empty(), "nothing can be done against {failure}");
        }
    }

    #[test]
    fn every_problem_of_a_file_is_named() {
        let text = r#"
            version = "x"
            [window_secs]
            hang = 10
            [capabilities]
            [[arm]]
            name = "a"
            title = "A"
            severity = 9
            blast = "none"
            cost = 2.0
            requires = ["magic"]
            steps = [{ lever = "l", value = 1 }]
            [arm.against.fire]
            prior = { mean = 2, weight = 1 }
            effect = { signal = "smoke", change = "falls", by = 0.5, within_secs = 5 }
            [[known_name]]
            name = "B"
            arms = ["b"]
            note = ""
        "#;
        let error = Catalogue::parse("mine.toml", text)
            .expect_err("it is wrong")
            .to_string();
        for part in [
            "mine.toml",
            "severity",
            "cost",
            "magic",
            "ttl_secs",
            "fire",
            "smoke",
            "prior",
            "no arm b",
            "no arm nothing",
        ] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn names_from_elsewhere_are_supported_or_have_a_reason() {
        let catalogue = Catalogue::built_in();
        let bare = Target::new("t", "cpu");
        for name in [
            "EmergencyGPUMemoryCleanup",
            "ReduceBatchSize",
            "RestartNCCL",
            "RebalanceLoad",
            "ScaleResources",
            "EnableCPUOffloading",
            "DisableCUDAGraphs",
            "ReduceModelParallelism",
            "OptimizeScheduler",
            "RestartWorkers",
            "HandleTimeouts",
            "EnableBackpressure",
        ] {
            let (known, support) = catalogue.resolve(name, &bare).unwrap_or_else(|| panic!("{name}"));
            assert!(!known.note.is_empty());
            for support in support {
                assert!(
                    !support.unsupported.is_empty(),
                    "{name} on a bare target: {support}"
                );
                assert!(support.to_string().contains("unsupported here: "));
            }
        }
        let able = Target::new("t", "gpu").with(["lever.max_num_queued_reqs"]);
        let (_, support) = catalogue.resolve("reducebatchsize", &able).expect("known");
        assert!(support.iter().any(|s| s.unsupported.is_empty()));
    }
}
