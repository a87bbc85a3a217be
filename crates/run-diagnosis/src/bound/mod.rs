//! What bound a run: a label for each second, and the verdict by the share of seconds.
//!
//! It rests on physics that needs no tuning: the ridge, the number of tokens per step at which arithmetic takes as
//! long as reading the weights, against the tokens per step that vLLM counts exactly. Rules and thresholds are data
//! (`rules.toml`), and so are the GPUs' peak rates (`gpus.toml`).

mod budget;
mod compute;
mod evaluate;
mod gpus;
mod quantity;
mod readings;
mod rules;
mod sentences;
mod step_fit;
mod template;

use serde::Serialize;

pub use budget::{BudgetPart, Cause, LatencyBudget};
pub use evaluate::{Confidence, Evidence, RuleOutcome, RuleState};
pub use gpus::{Gpu, GpuTable};
pub use quantity::Quantity;
pub use rules::{Condition, Rule, RuleTable, TableError, VerdictShares};
pub use step_fit::StepFit;

use crate::input::{Run, Span};
use evaluate::InSecond;

/// What bound the run as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Verdict {
    /// One rule labels at least half of the seconds.
    BoundBy {
        /// Its id.
        rule: String,
    },
    /// No rule labels half of the seconds, but together they do.
    Mixed,
    /// Most seconds have no label.
    Unknown,
}

/// Seconds in a row with the same label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LabelledSpan {
    /// From the first to the end of the last of these seconds.
    pub span: Span,
    /// Index in [`Diagnosis::rules`].
    pub rule: usize,
}

/// What bound a run, with everything that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The stretch that was looked at.
    pub span: Span,
    /// Whole seconds in it.
    pub seconds: usize,
    /// What bound the run.
    pub verdict: Verdict,
    /// Ids of other rules that label at least a fifth of the seconds.
    pub also: Vec<String>,
    /// Share of the seconds without a label.
    pub unlabelled_ratio: f64,
    /// Every rule, in the order in which they are tried.
    pub rules: Vec<RuleOutcome>,
    /// Which rule labels which seconds, in order of time. Seconds without a label are in none.
    pub labels: Vec<LabelledSpan>,
    /// The fitted time of a step.
    pub step_fit: Option<StepFit>,
    /// Why there is no fit.
    pub step_fit_missing: Option<String>,
    /// What the time to first token consists of.
    pub time_to_first_token: Cause,
    /// What the time per output token consists of.
    pub time_per_output_token: Cause,
}

impl Diagnosis {
    /// The outcome of a rule.
    pub fn rule(&self, id: &str) -> Option<&RuleOutcome> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Whether the client bound the run, so that its latencies say little about the server.
    pub fn is_bound_by_client(&self) -> bool {
        matches!(&self.verdict, Verdict::BoundBy { rule } if rule == "client")
    }
}

/// Looks for what bound a run in a stretch of it, usually its steady window, with the built-in tables.
pub fn diagnose(run: &Run, span: Span) -> Diagnosis {
    diagnose_with(run, span, &RuleTable::built_in(), &GpuTable::built_in())
}

/// The same with other tables.
pub fn diagnose_with(run: &Run, span: Span, table: &RuleTable, gpus: &GpuTable) -> Diagnosis {
    let seconds = run.seconds.inside(span);
    let step_fit = StepFit::of(run, seconds.clone());
    let readings = compute::readings(run, seconds.clone(), gpus, step_fit.as_ref());
    let applies = |rule: &Rule| match rule.applies_to(run.facts.scenario) {
        true => Ok(()),
        false => Err(format!("it does not apply to {}", run.facts.scenario.name())),
    };
    let states: Vec<Vec<InSecond>> = table
        .rules
        .iter()
        .map(|rule| match applies(rule) {
            Ok(()) => evaluate::states(rule, &readings),
            Err(_) => vec![InSecond::Unknown; seconds.len()],
        })
        .collect();

    let label = |second: usize| {
        let found =
            |rule: &usize| table.rules[*rule].labels_seconds && states[*rule][second] == InSecond::Found;
        (0..table.rules.len()).find(found)
    };
    let labels: Vec<Option<usize>> = (0..seconds.len()).map(label).collect();
    let labelled = |rule: usize| labels.iter().filter(|label| **label == Some(rule)).count();
    let unlabelled = labels.iter().filter(|label| label.is_none()).count();

    let rules: Vec<RuleOutcome> = table
        .rules
        .iter()
        .zip(&states)
        .enumerate()
        .map(|(i, (rule, states))| {
            evaluate::outcome(rule, table.verdict, &readings, states, labelled(i), applies(rule))
        })
        .collect();
    let unlabelled_ratio = unlabelled as f64 / seconds.len().max(1) as f64;
    let main = rules
        .iter()
        .find(|rule| rule.labelled_ratio >= table.verdict.bound_by)
        .map(|rule| rule.id.clone());
    let also = rules
        .iter()
        .filter(|rule| rule.labelled_ratio >= table.verdict.also && Some(&rule.id) != main.as_ref())
        .map(|rule| rule.id.clone())
        .collect();
    Diagnosis {
        span,
        seconds: seconds.len(),
        verdict: match main {
            Some(rule) => Verdict::BoundBy { rule },
            None if seconds.is_empty() || unlabelled_ratio > table.verdict.bound_by => Verdict::Unknown,
            None => Verdict::Mixed,
        },
        also,
        unlabelled_ratio,
        rules,
        labels: labelled_spans(run, seconds.clone(), &labels),
        time_to_first_token: budget::time_to_first_token(run, span),
        time_per_output_token: budget::time_per_output_token(run, span, &readings, step_fit.as_ref()),
        step_fit_missing: step_fit.as_ref().err().cloned(),
        step_fit: step_fit.ok(),
    }
}

/// Puts equal labels of neighbouring seconds together.
fn labelled_spans(run: &Run, seconds: std::ops::Range<usize>, labels: &[Option<usize>]) -> Vec<LabelledSpan> {
    let mut spans: Vec<LabelledSpan> = Vec::new();
    for (second, label) in seconds.zip(labels) {
        let Some(rule) = *label else { continue };
        let (from_ns, to_ns) = (run.seconds.begins_ns(second), run.seconds.begins_ns(second + 1));
        match spans.last_mut() {
            Some(last) if last.rule == rule && last.span.to_ns == from_ns => last.span.to_ns = to_ns,
            _ => spans.push(LabelledSpan {
                span: Span { from_ns, to_ns },
                rule,
            }),
        }
    }
    spans
}
