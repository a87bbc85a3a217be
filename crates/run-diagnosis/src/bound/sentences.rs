//! The diagnosis in plain sentences.

use super::{Cause, Diagnosis, RuleOutcome, RuleState, Verdict};
use crate::words::{list, secs, share};

impl Diagnosis {
    /// The verdict, what to do, and the causes of both latencies.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![self.headline()];
        if let Verdict::BoundBy { rule } = &self.verdict
            && let Some(rule) = self.rule(rule)
        {
            sentences.extend(rule.sentences());
        }
        sentences.push(cause("time to first token", &self.time_to_first_token));
        sentences.push(cause("time per output token", &self.time_per_output_token));
        sentences
    }

    fn headline(&self) -> String {
        let named = |id: &String| self.rule(id).map_or_else(|| id.clone(), |rule| rule.name.clone());
        let with_share = |id: &String| {
            let ratio = self.rule(id).map_or(0.0, |rule| rule.labelled_ratio);
            format!("{} ({} of the seconds)", named(id), share(ratio))
        };
        let also: Vec<String> = self.also.iter().map(with_share).collect();
        let also = if also.is_empty() {
            String::new()
        } else {
            format!(" Also: {}.", list(&also))
        };
        match &self.verdict {
            Verdict::BoundBy { rule } => format!("Bound by {}.{also}", with_share(rule)),
            Verdict::Mixed => format!("No single resource bound the run.{also}"),
            Verdict::Unknown => format!(
                "What bound the run is not known: no rule fits in {} of the seconds.{also}",
                share(self.unlabelled_ratio)
            ),
        }
    }
}

impl RuleOutcome {
    /// What speaks for and against it, and what to do.
    pub fn sentences(&self) -> Vec<String> {
        if let RuleState::NotEvaluated { missing } = &self.state {
            return vec![format!(
                "{}: not evaluated; missing {}.",
                self.name,
                list(missing)
            )];
        }
        let texts = |evidence: Vec<&super::Evidence>| {
            let texts: Vec<&str> = evidence.iter().map(|e| e.text.as_str()).collect();
            texts.join("; ")
        };
        let opening = if self.state == RuleState::Found {
            "Evidence"
        } else {
            "Checked"
        };
        let mut sentences = vec![format!("{opening}: {}.", texts(self.evidence.iter().collect()))];
        if !self.not_checked.is_empty() {
            sentences.push(format!("Not checked: {}.", list(&self.not_checked)));
        }
        let holds = |e: &&super::Evidence| e.held_ratio.is_some_and(|ratio| ratio >= 0.5);
        let (held, not_held): (Vec<_>, Vec<_>) = self.counter_evidence.iter().partition(holds);
        for (opening, evidence) in [
            ("Evidence against it", held),
            ("No evidence against it", not_held),
        ] {
            if !evidence.is_empty() {
                sentences.push(format!("{opening}: {}.", texts(evidence)));
            }
        }
        if self.state == RuleState::Found {
            let by_how_much = self
                .by_how_much
                .as_ref()
                .map(|text| format!(" {text}"))
                .unwrap_or_default();
            sentences.push(format!("{}{by_how_much}", self.change));
        }
        sentences
    }
}

fn cause(latency: &str, cause: &Cause) -> String {
    match cause {
        Cause::Known { largest, budgets } => {
            let budgets: Vec<String> = budgets
                .iter()
                .map(|budget| {
                    let parts: Vec<String> = budget
                        .parts
                        .iter()
                        .filter(|part| part.ratio >= 0.05)
                        .map(|part| format!("{} {}", part.name, secs(part.secs)))
                        .collect();
                    format!(
                        "The {} request's {} are {}.",
                        budget.requests,
                        secs(budget.total_secs),
                        list(&parts)
                    )
                })
                .collect();
            format!("The {latency} is mostly {largest}. {}", budgets.join(" "))
        }
        Cause::NotEvaluated { because } => {
            format!("What the {latency} consists of was not evaluated: {because}.")
        }
    }
}
