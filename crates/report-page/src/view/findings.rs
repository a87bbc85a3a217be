//! Diagnosis and latency budgets.

use serde::Serialize;

use super::Cell;
use crate::format;
use crate::model::{self, Confidence, Quantity, RuleState};

#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    pub summary: String,
    pub found: Vec<Rule>,
    pub others: Vec<Rule>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Rule {
    /// Which of the eight colours.
    pub color: usize,
    pub name: String,
    /// `found`, [`EXPLAINED`], `does not apply` or `not evaluated`.
    pub state: &'static str,
    pub missing: String,
    /// With its unit: `16 % of seconds`, or `1 of 300 seconds` where the percentage would be 0.
    pub share: String,
    /// Width of the bar in percent.
    pub percent: f64,
    pub evidence: Vec<Check>,
    pub counter_evidence: Vec<Check>,
    pub change: String,
    pub confidence: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub name: String,
    pub cell: Cell,
    pub threshold: String,
    /// `holds`, `fails` or `unknown`.
    pub state: &'static str,
}

impl Diagnosis {
    pub(crate) fn of(diagnosis: &model::Diagnosis) -> Self {
        let colors = rule_colors(diagnosis);
        let rules = diagnosis
            .rules
            .iter()
            .zip(colors)
            .enumerate()
            .map(|(index, (rule, color))| Rule::of(color, rule, time_of(diagnosis, index)));
        let (mut found, others): (Vec<_>, Vec<_>) = rules.partition(|rule| rule.state == "found");
        found.sort_by(|a, b| b.percent.total_cmp(&a.percent));
        Self {
            summary: diagnosis.summary.clone(),
            found,
            others,
        }
    }
}

/// A colour for each rule: the first for the one with the largest share of time, so that the same few colours are seen
/// in every report.
fn rule_colors(diagnosis: &model::Diagnosis) -> Vec<usize> {
    let mut order: Vec<usize> = (0..diagnosis.rules.len()).collect();
    order.sort_by_key(|&rule| std::cmp::Reverse(time_of(diagnosis, rule)));
    let mut colors = vec![0; order.len()];
    for (color, rule) in order.into_iter().enumerate() {
        colors[rule] = color % 8;
    }
    colors
}

/// The time that has the label of a rule, in nanoseconds.
fn time_of(diagnosis: &model::Diagnosis, rule: usize) -> i64 {
    let spans = diagnosis.spans.iter().filter(|span| span.rule == rule);
    spans.map(|span| span.end_ns - span.start_ns).sum()
}

/// State of a rule whose conditions held only in seconds that have the label of an earlier rule.
const EXPLAINED: &str = "held only in seconds explained by an earlier rule";

/// A share of the seconds.
fn share(ratio: f64, labelled_ns: i64) -> String {
    let percent = format!("{:.0}", ratio * 100.0);
    let seconds = labelled_ns as f64 / 1e9;
    if percent == "0" && ratio > 0.0 && seconds > 0.0 {
        format!("{seconds:.0} of {:.0} seconds", seconds / ratio)
    } else {
        format!("{percent} % of seconds")
    }
}

/// Names and colours of all rules.
pub(crate) fn rules(diagnosis: &model::Diagnosis) -> impl Iterator<Item = (&str, usize)> {
    diagnosis
        .rules
        .iter()
        .map(|r| &*r.name)
        .zip(rule_colors(diagnosis))
}

impl Rule {
    fn of(color: usize, rule: &model::Rule, labelled_ns: i64) -> Self {
        let (state, missing) = match &rule.state {
            RuleState::Found if rule.share_ratio == Some(0.0) => (EXPLAINED, ""),
            RuleState::Found => ("found", ""),
            RuleState::Clear => ("does not apply", ""),
            RuleState::NotEvaluated { missing } => ("not evaluated", &**missing),
        };
        let checks = |checks: &[model::Check]| checks.iter().map(Check::of).collect();
        Self {
            color,
            name: rule.name.clone(),
            state,
            missing: missing.to_owned(),
            share: rule
                .share_ratio
                .map_or_else(String::new, |ratio| share(ratio, labelled_ns)),
            percent: rule.share_ratio.unwrap_or(0.0) * 100.0,
            evidence: checks(&rule.evidence),
            counter_evidence: checks(&rule.counter_evidence),
            change: rule.change.clone(),
            confidence: match rule.confidence {
                None => "",
                Some(Confidence::Weak) => "weak",
                Some(Confidence::Fair) => "fair",
                Some(Confidence::Strong) => "strong",
            },
        }
    }
}

impl Check {
    fn of(check: &model::Check) -> Self {
        let (threshold, unit) = format::with_unit(check.threshold, &check.unit);
        Self {
            name: check.name.clone(),
            cell: Cell::of(&check.quantity, &check.unit),
            threshold: format!("{} {threshold} {unit}", check.relation.sign())
                .trim_end()
                .to_owned(),
            state: match check
                .quantity
                .value()
                .map(|v| check.relation.holds(v, check.threshold))
            {
                Some(true) => "holds",
                Some(false) => "fails",
                None => "unknown",
            },
        }
    }
}

/// All latency budgets with one legend.
#[derive(Debug, Serialize)]
pub(crate) struct Budgets {
    pub bars: Vec<Bar>,
    pub parts: Vec<Part>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub name: String,
    pub definition: String,
    pub color: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub run: String,
    pub name: String,
    pub definition: String,
    pub total: Cell,
    pub segments: Vec<Segment>,
    /// One per part of the legend.
    pub cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Segment {
    pub color: usize,
    pub percent: f64,
    pub text: String,
    pub estimate: bool,
}

impl Budgets {
    pub(crate) fn of(runs: &[model::Run]) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for part in runs
            .iter()
            .flat_map(|run| &run.budgets)
            .flat_map(|budget| &budget.parts)
        {
            if !parts.iter().any(|known| known.name == part.name) {
                parts.push(Part {
                    name: part.name.clone(),
                    definition: part.definition.clone(),
                    color: part_color(&part.name, parts.len()),
                });
            }
        }
        let bar = |run: &model::Run, budget: &model::Budget| Bar::of(run, budget, &parts);
        let bars = runs
            .iter()
            .flat_map(|run| run.budgets.iter().map(move |b| bar(run, b)))
            .collect();
        Self { bars, parts }
    }
}

/// The usual parts have the colours that they have in the timeline of requests.
fn part_color(name: &str, position: usize) -> usize {
    match name {
        "decode" => 0,
        "schedule lag" => 1,
        "prefill" => 2,
        "client queue" => 3,
        "server queue" => 4,
        "outside the engine" => 6,
        "not divided further" => 7,
        _ => (position + 5) % 8,
    }
}

impl Bar {
    fn of(run: &model::Run, budget: &model::Budget, parts: &[Part]) -> Self {
        let known = || {
            budget
                .parts
                .iter()
                .filter_map(|part| Some((part, part.seconds.value()?.max(0.0))))
        };
        let total: f64 = known().map(|(_, seconds)| seconds).sum();
        let estimate = |quantity: &Quantity| matches!(quantity, Quantity::Estimate { .. });
        let quantity = if known().next().is_none() {
            Quantity::absent("no part is known")
        } else if budget.parts.iter().any(|part| estimate(&part.seconds)) {
            Quantity::estimate(total)
        } else {
            Quantity::measured(total)
        };
        Self {
            run: run.name.clone(),
            name: budget.name.clone(),
            definition: budget.definition.clone(),
            total: Cell::of(&quantity, "seconds"),
            segments: known()
                .filter(|(_, seconds)| *seconds > 0.0)
                .map(|(part, seconds)| {
                    let (text, unit) = format::with_unit(seconds, "seconds");
                    Segment {
                        color: parts
                            .iter()
                            .find(|known| known.name == part.name)
                            .expect("collected above")
                            .color,
                        percent: seconds / total * 100.0,
                        text: format!("{}: {text} {unit}", part.name),
                        estimate: estimate(&part.seconds),
                    }
                })
                .collect(),
            cells: parts
                .iter()
                .map(|known| {
                    let part = budget.parts.iter().find(|part| part.name == known.name);
                    part.map_or_else(
                        || Cell::missing("not in this budget"),
                        |p| Cell::of(&p.seconds, "seconds"),
                    )
                })
                .collect(),
        }
    }
}
