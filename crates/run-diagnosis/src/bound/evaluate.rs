//! One rule over all seconds.

use std::collections::BTreeSet;

use serde::Serialize;

use super::quantity::Quantity;
use super::readings::Readings;
use super::rules::{Condition, Rule, VerdictShares};
use super::template;
use crate::input::Span;

/// Whether a rule was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RuleState {
    /// Its condition held.
    Found,
    /// Its condition did not hold, or counter-evidence did.
    Clear,
    /// It could not be evaluated.
    NotEvaluated {
        /// What is missing, or why it does not apply.
        missing: Vec<String>,
    },
}

/// How many independent quantities speak for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// One.
    Weak,
    /// Two.
    Fair,
    /// Three or more.
    Strong,
}

/// A quantity against its threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// What was compared.
    pub quantity: Quantity,
    /// Its median over the seconds in question.
    pub value: Option<f64>,
    /// "above", "at least", "below" or "at most".
    pub comparison: &'static str,
    /// Median of the threshold.
    pub threshold: Option<f64>,
    /// Share of the seconds in question in which it held; absent where it is unknown in all of them.
    pub held_ratio: Option<f64>,
    /// As a sentence: "running requests 48 (condition: at least 45)".
    pub text: String,
}

/// One rule's outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleOutcome {
    /// Name for programs.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Whether it was found.
    #[serde(flatten)]
    pub state: RuleState,
    /// Share of the seconds that have its label.
    pub labelled_ratio: f64,
    /// Share of the seconds in which it was found, whatever rule came before it.
    pub found_ratio: f64,
    /// Share of the seconds in which it could be evaluated.
    pub evaluated_ratio: f64,
    /// The first stretch of seconds in which it was found.
    pub first: Option<Span>,
    /// The last one.
    pub last: Option<Span>,
    /// The conditions that decide, over the seconds in which it was found, or over all.
    pub evidence: Vec<Evidence>,
    /// Alternatives of its condition that could not be checked, and why.
    pub not_checked: Vec<String>,
    /// What would have ruled it out, over the same seconds.
    pub counter_evidence: Vec<Evidence>,
    /// Set where it was found.
    pub confidence: Option<Confidence>,
    /// Why these thresholds.
    pub why: String,
    /// What to do about it.
    pub change: String,
    /// By how much; set where it was found and the quantities are known.
    pub by_how_much: Option<String>,
}

/// In one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InSecond {
    Found,
    Clear,
    Unknown,
}

/// A rule's state in each second.
pub(super) fn states(rule: &Rule, readings: &Readings) -> Vec<InSecond> {
    readings
        .seconds
        .clone()
        .map(|second| state(rule, readings, second))
        .collect()
}

/// Unknown only where every group is: what the other groups would have needed is reported as not checked.
fn state(rule: &Rule, readings: &Readings, second: usize) -> InSecond {
    let cleared = rule
        .cleared_by
        .iter()
        .any(|group| all_hold(group, readings, second) == Some(true));
    if cleared {
        return InSecond::Clear;
    }
    let mut state = InSecond::Unknown;
    for group in &rule.found {
        match all_hold(group, readings, second) {
            Some(true) => return InSecond::Found,
            Some(false) => state = InSecond::Clear,
            None => {}
        }
    }
    state
}

/// `None` if it depends on something unknown.
fn all_hold(group: &[Condition], readings: &Readings, second: usize) -> Option<bool> {
    let mut all = Some(true);
    for condition in group {
        match holds(condition, readings, second) {
            Some(false) => return Some(false),
            None if !condition.if_known => all = None,
            _ => {}
        }
    }
    all
}

fn holds(condition: &Condition, readings: &Readings, second: usize) -> Option<bool> {
    let value = readings.at(condition.quantity, second)?;
    let threshold = condition.threshold(|quantity| readings.at(quantity, second))?;
    Some(condition.comparison().0.holds(value, threshold))
}

/// A rule's outcome from its states and from which seconds have its label.
pub(super) fn outcome(
    rule: &Rule,
    shares: VerdictShares,
    readings: &Readings,
    states: &[InSecond],
    labelled: usize,
    applies: Result<(), String>,
) -> RuleOutcome {
    let seconds = readings.seconds.clone();
    let total = states.len().max(1) as f64;
    let found: Vec<usize> = seconds
        .clone()
        .zip(states)
        .filter(|(_, state)| **state == InSecond::Found)
        .map(|(second, _)| second)
        .collect();
    let unknown = states.iter().filter(|state| **state == InSecond::Unknown).count();
    let found_ratio = found.len() as f64 / total;
    let evaluated_ratio = 1.0 - unknown as f64 / total;
    let state = if let Err(because) = applies {
        RuleState::NotEvaluated {
            missing: vec![because],
        }
    } else if found_ratio >= shares.found {
        RuleState::Found
    } else if states.is_empty() || evaluated_ratio < shares.evaluated {
        RuleState::NotEvaluated {
            missing: missing(rule, readings),
        }
    } else {
        RuleState::Clear
    };

    let is_found = state == RuleState::Found;
    let in_question: Vec<usize> = if is_found {
        found.clone()
    } else {
        seconds.collect()
    };
    let deciding = deciding_group(rule, readings, &in_question);
    let evidence: Vec<Evidence> = deciding
        .iter()
        .map(|condition| compare(condition, readings, &in_question))
        .collect();
    let supporting = rule
        .supporting
        .iter()
        .map(|condition| compare(condition, readings, &in_question));
    let supporting: Vec<Evidence> = supporting.filter(Evidence::mostly_held).collect();
    let counter_evidence = rule.cleared_by.iter().flatten();
    RuleOutcome {
        id: rule.id.clone(),
        name: rule.name.clone(),
        labelled_ratio: labelled as f64 / total,
        found_ratio,
        evaluated_ratio,
        first: stretch(&found, readings, false),
        last: stretch(&found, readings, true),
        confidence: is_found.then(|| confidence(deciding, &evidence, &supporting)),
        counter_evidence: counter_evidence
            .map(|condition| compare(condition, readings, &in_question))
            .collect(),
        not_checked: match state {
            RuleState::NotEvaluated { .. } => Vec::new(),
            _ => {
                let lacking = rule.found.iter().flat_map(|group| lacks(group, readings));
                lacking.collect::<BTreeSet<String>>().into_iter().collect()
            }
        },
        evidence: evidence.into_iter().chain(supporting).collect(),
        why: rule.why.clone(),
        change: rule.change.clone(),
        by_how_much: rule
            .by_how_much
            .as_deref()
            .filter(|_| is_found)
            .and_then(|text| template::fill(text, |quantity| readings.median(quantity, &in_question)).ok()),
        state,
    }
}

/// What keeps a rule from being evaluated: of the group that lacks the least, what it lacks.
fn missing(rule: &Rule, readings: &Readings) -> Vec<String> {
    let groups = rule
        .found
        .iter()
        .map(|group| lacks(group, readings))
        .filter(|lacks| !lacks.is_empty());
    groups
        .min_by_key(Vec::len)
        .unwrap_or_else(|| vec!["its quantities are known together in too few seconds".to_owned()])
}

/// The quantities that a group of conditions needs and that are missing.
fn lacks(group: &[Condition], readings: &Readings) -> Vec<String> {
    let needed = group.iter().filter(|condition| !condition.if_known);
    let quantities = needed.flat_map(|condition| {
        // With a floor, the threshold is known without the quantity it refers to.
        [
            Some(condition.quantity),
            condition.of.filter(|_| condition.floor.is_none()),
        ]
    });
    let mut lacks: Vec<String> = quantities
        .flatten()
        .filter_map(|quantity| readings.missing(quantity))
        .collect();
    lacks.dedup();
    lacks
}

/// The group that holds in the most seconds, as far as it is known; the first of equals.
fn deciding_group<'a>(rule: &'a Rule, readings: &Readings, seconds: &[usize]) -> &'a [Condition] {
    let holds_in = |group: &[Condition]| {
        seconds
            .iter()
            .filter(|second| all_hold(group, readings, **second) == Some(true))
            .count()
    };
    let mut best: (usize, &[Condition]) = (0, rule.found.first().map_or(&[], Vec::as_slice));
    for group in &rule.found {
        let count = holds_in(group);
        if count > best.0 {
            best = (count, group);
        }
    }
    best.1
}

fn compare(condition: &Condition, readings: &Readings, seconds: &[usize]) -> Evidence {
    let (comparison, _) = condition.comparison();
    let quantity = condition.quantity;
    let value = readings.median(quantity, seconds);
    let thresholds: Vec<f64> = seconds
        .iter()
        .filter_map(|second| condition.threshold(|quantity| readings.at(quantity, *second)))
        .collect();
    let threshold = run_statistics::percentile::median(&thresholds);
    let known: Vec<bool> = seconds
        .iter()
        .filter_map(|second| holds(condition, readings, *second))
        .collect();
    let held = known.iter().filter(|held| **held).count();
    let text = match (value, threshold) {
        (Some(value), Some(threshold)) => format!(
            "{} {} (condition: {} {})",
            quantity.describe(),
            quantity.print(value),
            comparison.words(),
            quantity.print(threshold)
        ),
        (None, _) => readings.missing(quantity).map_or_else(
            || format!("{} is not known in these seconds", quantity.describe()),
            |missing| format!("not known: {missing}"),
        ),
        (Some(value), None) => {
            let missing = condition.of.and_then(|of| readings.missing(of));
            let missing = missing.unwrap_or_else(|| "its threshold in these seconds".to_owned());
            format!(
                "{} {}; not known: {missing}",
                quantity.describe(),
                quantity.print(value)
            )
        }
    };
    Evidence {
        quantity,
        value,
        comparison: comparison.words(),
        threshold,
        held_ratio: (!known.is_empty()).then(|| held as f64 / known.len() as f64),
        text,
    }
}

impl Evidence {
    fn mostly_held(&self) -> bool {
        self.held_ratio.is_some_and(|ratio| ratio >= 0.5)
    }
}

fn confidence(deciding: &[Condition], evidence: &[Evidence], supporting: &[Evidence]) -> Confidence {
    let mut quantities: Vec<Quantity> = deciding
        .iter()
        .zip(evidence)
        .filter(|(condition, evidence)| !condition.guard && evidence.mostly_held())
        .map(|(_, evidence)| evidence.quantity)
        .chain(supporting.iter().map(|evidence| evidence.quantity))
        .collect();
    quantities.sort_unstable();
    quantities.dedup();
    match quantities.len() {
        0 | 1 => Confidence::Weak,
        2 => Confidence::Fair,
        _ => Confidence::Strong,
    }
}

/// The first or the last stretch of consecutive seconds.
fn stretch(found: &[usize], readings: &Readings, last: bool) -> Option<Span> {
    let mut stretches = found.chunk_by(|a, b| a + 1 == *b);
    let stretch = if last {
        stretches.next_back()
    } else {
        stretches.next()
    }?;
    Some(readings.span(*stretch.first()?, *stretch.last()? + 1))
}
