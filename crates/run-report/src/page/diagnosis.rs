//! What bound the run, rule by rule.

use report_page::model::{self, BoundSpan, Check, Quantity, Relation, Rule};
use run_diagnosis::bound::{Confidence, Diagnosis, Evidence, RuleOutcome, RuleState};

pub(super) fn of(diagnosis: &Diagnosis) -> model::Diagnosis {
    model::Diagnosis {
        summary: diagnosis.sentences().into_iter().next().unwrap_or_default(),
        rules: diagnosis.rules.iter().map(rule).collect(),
        spans: diagnosis
            .labels
            .iter()
            .map(|label| BoundSpan {
                start_ns: label.span.from_ns,
                end_ns: label.span.to_ns,
                rule: label.rule,
            })
            .collect(),
    }
}

fn rule(outcome: &RuleOutcome) -> Rule {
    let evaluated = !matches!(outcome.state, RuleState::NotEvaluated { .. });
    Rule {
        name: outcome.name.clone(),
        state: match &outcome.state {
            RuleState::Found => model::RuleState::Found,
            RuleState::Clear => model::RuleState::Clear,
            RuleState::NotEvaluated { missing } => model::RuleState::NotEvaluated {
                missing: missing.join("; "),
            },
        },
        share_ratio: evaluated.then_some(outcome.labelled_ratio),
        evidence: outcome.evidence.iter().filter_map(check).collect(),
        counter_evidence: outcome.counter_evidence.iter().filter_map(check).collect(),
        change: change(outcome),
        confidence: outcome.confidence.map(|confidence| match confidence {
            Confidence::Weak => model::Confidence::Weak,
            Confidence::Fair => model::Confidence::Fair,
            Confidence::Strong => model::Confidence::Strong,
        }),
    }
}

/// What to change, by how much, why these thresholds, and what could not be checked.
fn change(outcome: &RuleOutcome) -> String {
    let mut sentences = vec![outcome.change.clone()];
    sentences.extend(outcome.by_how_much.clone());
    sentences.push(format!("Thresholds: {}.", outcome.why));
    if !outcome.not_checked.is_empty() {
        sentences.push(format!("Not checked: {}.", outcome.not_checked.join("; ")));
    }
    sentences.join(" ")
}

/// A threshold that is not known has no place in a table of thresholds; the rule says what is missing.
fn check(evidence: &Evidence) -> Option<Check> {
    Some(Check {
        name: evidence.quantity.describe().to_owned(),
        quantity: evidence.value.filter(|value| value.is_finite()).map_or_else(
            || Quantity::absent("not known in these seconds"),
            Quantity::measured,
        ),
        unit: evidence.quantity.unit_name().to_owned(),
        relation: match evidence.comparison {
            "above" => Relation::Above,
            "at least" => Relation::AtLeast,
            "below" => Relation::Below,
            _ => Relation::AtMost,
        },
        threshold: evidence.threshold.filter(|threshold| threshold.is_finite())?,
    })
}
