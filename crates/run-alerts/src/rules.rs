//! Files of alert rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use run_diagnosis::alerts::RuleTiming;
use serde::{Deserialize, Serialize};
use vllm_metrics::derive::expression::Condition;

use crate::error::{Error, Result};
use crate::template::{Template, is_label_name};

/// Maximum size of a file.
const LARGEST_FILE: usize = 1 << 20;
/// Maximum number of rules.
const MOST_RULES: usize = 1000;
/// Longest `for` and `keep-firing-for`.
const LONGEST: Duration = Duration::from_secs(86_400);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSeverity {
    /// To be known.
    Info,
    /// Something needs attention.
    #[default]
    Warning,
    /// The run or the server is affected.
    Critical,
}

impl RuleSeverity {
    /// The value of the label `severity`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An alert rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Value of the label `alertname`.
    pub name: String,
    /// When it holds.
    pub condition: Condition,
    /// `for`, `keep-firing-for`, and when data is missing.
    pub timing: RuleTiming,
    /// Value of the label `severity`.
    pub severity: RuleSeverity,
    /// Labels in addition to those of the series.
    pub labels: BTreeMap<String, String>,
    pub(crate) summary: Option<Template>,
    /// Address of a page that says what to do.
    pub runbook: Option<String>,
}

/// A file of alert rules.
///
/// ```
/// use run_alerts::RuleFile;
///
/// let file = RuleFile::parse("rules.toml", r#"
///     [[rule]]
///     name = "Waiting"
///     expression = "vllm:num_requests_waiting > 100"
///     for = "30s"
/// "#).unwrap();
/// assert_eq!(file.rules[0].timing.hold.as_secs(), 30);
///
/// let error = RuleFile::parse("rules.toml", "[[rule]]\nname = 'x'\nexpression = 'rate(y) > 1'").unwrap_err();
/// assert!(error.to_string().contains("rule x: expression: column 1: rate needs a window"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFile {
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRule {
    name: String,
    expression: String,
    r#for: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default)]
    severity: RuleSeverity,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    summary: Option<String>,
    runbook: Option<String>,
}

impl RuleFile {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`Error`]; all problems of the rules are reported together.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Parses the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// See [`RuleFile::read`].
    pub fn parse(path: impl AsRef<Path>, text: &str) -> Result<Self> {
        let path = path.as_ref().to_owned();
        if text.len() > LARGEST_FILE {
            let reason = format!("{} bytes; a file of rules has at most {LARGEST_FILE}", text.len());
            return Err(Error::Format { path, reason });
        }
        let written: WrittenFile = match toml::from_str(text) {
            Ok(written) => written,
            Err(error) => {
                return Err(Error::Format {
                    path,
                    reason: error.to_string().trim_end().to_owned(),
                });
            }
        };
        let mut problems = Vec::new();
        if written.rule.is_empty() {
            problems.push("there is no [[rule]]".to_owned());
        }
        if written.rule.len() > MOST_RULES {
            problems.push(format!("{} rules; at most {MOST_RULES}", written.rule.len()));
        }
        let mut names = BTreeSet::new();
        let mut rules = Vec::new();
        for rule in written.rule.into_iter().take(MOST_RULES) {
            if !names.insert(rule.name.clone()) {
                problems.push(format!("rule {}: there are two of this name", rule.name));
            }
            rules.extend(resolve(rule, &mut problems));
        }
        if problems.is_empty() {
            Ok(Self { rules })
        } else {
            Err(Error::Rules { path, problems })
        }
    }

    /// Names of all series that the rules read.
    pub fn metric_names(&self) -> BTreeSet<&str> {
        self.rules
            .iter()
            .flat_map(|rule| rule.condition.metric_names())
            .collect()
    }
}

fn resolve(rule: RawRule, problems: &mut Vec<String>) -> Option<Rule> {
    let before = problems.len();
    let name = rule.name;
    let mut wrong =
        |key: &str, why: &dyn std::fmt::Display| problems.push(format!("rule {name}: {key}: {why}"));
    if !is_label_name(&name) {
        wrong("name", &"letters, digits and _, and no digit first");
    }
    let condition = Condition::parse(&rule.expression)
        .map_err(|error| wrong("expression", &error))
        .ok();
    let mut duration = |key: &str, text: Option<&String>| {
        let text = text?;
        match text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|d| Duration::try_from(d).ok())
        {
            Some(duration) if duration <= LONGEST => Some(duration),
            _ => {
                wrong(
                    key,
                    &format!("{text:?} is not a duration up to 24h, like 30s or 10m"),
                );
                None
            }
        }
    };
    let timing = RuleTiming {
        hold: duration("for", rule.r#for.as_ref()).unwrap_or_default(),
        keep_firing: duration("keep-firing-for", rule.keep_firing_for.as_ref()).unwrap_or_default(),
        ..RuleTiming::default()
    };
    for label in rule.labels.keys() {
        if !is_label_name(label) {
            wrong(
                "labels",
                &format!("{label:?}: letters, digits and _, and no digit first"),
            );
        }
        if ["alertname", "severity"].contains(&label.as_str()) {
            wrong(
                "labels",
                &format!(
                    "{label} is set by the key {}",
                    if label == "severity" { "severity" } else { "name" }
                ),
            );
        }
    }
    let summary = rule.summary.as_deref().map(Template::parse).transpose();
    let summary = summary.map_err(|why| wrong("summary", &why)).ok().flatten();
    if problems.len() > before {
        return None;
    }
    Some(Rule {
        name,
        condition: condition?,
        timing,
        severity: rule.severity,
        labels: rule.labels,
        summary,
        runbook: rule.runbook,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_with_rule_and_key() {
        let error = RuleFile::parse(
            "rules.toml",
            r#"
            [[rule]]
            name = "1x"
            expression = "a > "
            for = "soon"
            keep-firing-for = "48h"
            labels = { "a-b" = "c", severity = "x" }
            summary = "{{"

            [[rule]]
            name = "same"
            expression = "a > 1"

            [[rule]]
            name = "same"
            expression = "1 > 2"
            "#,
        )
        .unwrap_err()
        .to_string();
        for part in [
            "rules.toml:",
            "rule 1x: name",
            "rule 1x: expression: column 5",
            "rule 1x: for: \"soon\"",
            "rule 1x: keep-firing-for: \"48h\"",
            "rule 1x: labels: \"a-b\"",
            "rule 1x: labels: severity",
            "rule 1x: summary",
            "rule same: there are two",
            "rule same: expression",
        ] {
            assert!(error.contains(part), "{part} is missing in\n{error}");
        }
    }

    #[test]
    fn a_key_that_does_not_exist_is_an_error_with_its_line() {
        let error =
            RuleFile::parse("r.toml", "[[rule]]\nname = 'a'\nexpression = 'b'\nfoor = '1s'").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("foor") && text.contains("line 4"), "{text}");
        assert!(
            RuleFile::parse("r.toml", "")
                .unwrap_err()
                .to_string()
                .contains("no [[rule]]")
        );
        assert!(
            RuleFile::read("/nowhere/r.toml")
                .unwrap_err()
                .to_string()
                .contains("/nowhere/r.toml")
        );
    }
}
