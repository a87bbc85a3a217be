//! The rule table: conditions on quantities, as data.

use serde::Deserialize;

use super::quantity::Quantity;
use crate::input::Scenario;

const BUILT_IN: &str = include_str!("rules.toml");

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Not the expected form; the message names line and key.
    #[error("the table is not readable: {0}")]
    Malformed(#[from] toml::de::Error),
    /// A condition that can never be evaluated or says nothing.
    #[error("rule {rule}: {problem}")]
    Rule {
        /// Its id.
        rule: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// All rules, in the order in which they are tried, and the shares that make a verdict.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleTable {
    /// Shares of seconds.
    pub verdict: VerdictShares,
    /// The rules.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// Shares of seconds, 0 to 1, from which words are used.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictShares {
    /// A run is bound by what labels at least this share.
    pub bound_by: f64,
    /// And also by what labels at least this share.
    pub also: f64,
    /// A rule whose condition holds for at least this share is found.
    pub found: f64,
    /// A rule that can be evaluated in less than this share is not evaluated.
    pub evaluated: f64,
}

/// One thing that may bind a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name for programs.
    pub id: String,
    /// Name for people: "bound by …".
    pub name: String,
    /// Scenarios it applies to; absent for all.
    pub scenarios: Option<Vec<Scenario>>,
    /// Seconds get its label. A rule without is only reported.
    #[serde(default = "yes")]
    pub labels_seconds: bool,
    /// Found in a second in which all conditions of one group hold.
    pub found: Vec<Vec<Condition>>,
    /// Not found in a second in which all conditions of one of these groups hold.
    #[serde(default)]
    pub cleared_by: Vec<Vec<Condition>>,
    /// Not needed, but more confidence if they hold.
    #[serde(default)]
    pub supporting: Vec<Condition>,
    /// Why these thresholds.
    pub why: String,
    /// What to do about it.
    pub change: String,
    /// By how much: a sentence with quantities in braces, which become their medians.
    pub by_how_much: Option<String>,
}

fn yes() -> bool {
    true
}

/// A quantity against a threshold.
///
/// The threshold is the number itself, or the number times the quantity named by `of`, but not less than `floor`. A
/// condition is unknown where its quantity or threshold is.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// What is compared.
    pub quantity: Quantity,
    /// Holds above this number.
    pub above: Option<f64>,
    /// Holds at or above this number.
    pub at_least: Option<f64>,
    /// Holds below this number.
    pub below: Option<f64>,
    /// Holds at or below this number.
    pub at_most: Option<f64>,
    /// Makes the number a factor on this quantity.
    pub of: Option<Quantity>,
    /// Smallest threshold; used alone where `of` is unknown.
    pub floor: Option<f64>,
    /// Counts as true where it is unknown.
    #[serde(default)]
    pub if_known: bool,
    /// A condition that only says where the rule applies and is no evidence for it.
    #[serde(default)]
    pub guard: bool,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Comparison {
    pub(super) fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::AtLeast => "at least",
            Self::Below => "below",
            Self::AtMost => "at most",
        }
    }
}

impl Condition {
    /// The comparison and its number. The table's check makes sure that there is exactly one.
    pub(super) fn comparison(&self) -> (Comparison, f64) {
        self.comparisons()
            .next()
            .expect("tables with a condition without a comparison are refused")
    }

    fn comparisons(&self) -> impl Iterator<Item = (Comparison, f64)> {
        let all = [
            (Comparison::Above, self.above),
            (Comparison::AtLeast, self.at_least),
            (Comparison::Below, self.below),
            (Comparison::AtMost, self.at_most),
        ];
        all.into_iter()
            .filter_map(|(comparison, number)| Some((comparison, number?)))
    }

    /// The threshold, given the value of `of`.
    pub(super) fn threshold(&self, of: impl Fn(Quantity) -> Option<f64>) -> Option<f64> {
        let (_, number) = self.comparison();
        let scaled = match self.of {
            Some(quantity) => of(quantity).map(|value| number * value),
            None => Some(number),
        };
        match (scaled, self.floor) {
            (Some(scaled), Some(floor)) => Some(scaled.max(floor)),
            (scaled, floor) => scaled.or(floor),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        match self.comparisons().count() {
            1 => None,
            0 => Some("a condition needs one of above, at_least, below, at_most"),
            _ => Some("a condition has more than one of above, at_least, below, at_most"),
        }
    }
}

impl RuleTable {
    /// The table of this crate.
    pub fn built_in() -> Self {
        Self::from_toml(BUILT_IN).expect("the built-in rule table is tested to be readable")
    }

    /// A table of the same form as `rules.toml`.
    ///
    /// # Errors
    /// For text that is no such table, or a rule that cannot be evaluated.
    ///
    /// ```
    /// use run_diagnosis::bound::RuleTable;
    /// let text = r#"
    ///     verdict = { bound_by = 0.5, also = 0.2, found = 0.05, evaluated = 0.5 }
    ///     [[rule]]
    ///     id = "kv"
    ///     name = "KV capacity"
    ///     found = [[{ quantity = "kv_cache_usage", at_least = 0.95 }]]
    ///     why = "the allocator fails at 1"
    ///     change = "more memory"
    /// "#;
    /// let error = RuleTable::from_toml(text).unwrap_err().to_string();
    /// assert!(error.contains("kv_cache_usage") && error.contains("line 6"), "{error}");
    /// assert!(RuleTable::from_toml(&text.replace("kv_cache_usage", "kv_cache_usage_ratio")).is_ok());
    /// ```
    pub fn from_toml(text: &str) -> Result<Self, TableError> {
        let table: Self = toml::from_str(text)?;
        for rule in &table.rules {
            let problem = rule.conditions().find_map(Condition::problem).map(str::to_owned);
            let problem = problem.or_else(|| rule.found.is_empty().then(|| "it has no condition".to_owned()));
            let problem = problem.or_else(|| super::template::problem(rule.by_how_much.as_deref()?));
            if let Some(problem) = problem {
                return Err(TableError::Rule {
                    rule: rule.id.clone(),
                    problem,
                });
            }
        }
        Ok(table)
    }
}

impl Rule {
    /// Every condition of the rule.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.found
            .iter()
            .chain(&self.cleared_by)
            .flatten()
            .chain(&self.supporting)
    }

    pub(super) fn applies_to(&self, scenario: Scenario) -> bool {
        self.scenarios
            .as_ref()
            .is_none_or(|scenarios| scenarios.contains(&scenario))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_readable_and_its_ids_differ() {
        let table = RuleTable::built_in();
        let mut ids: Vec<&str> = table.rules.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids.len(), 14);
        for rule in &table.rules {
            assert!(rule.change.contains("--"), "{}: advice without a flag", rule.id);
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 14);
    }

    #[test]
    fn a_condition_says_one_thing() {
        let text = |condition: &str| {
            format!(
                "verdict = {{ bound_by = 0.5, also = 0.2, found = 0.05, evaluated = 0.5 }}\n[[rule]]\nid = 'r'\n\
                 name = 'r'\nfound = [[{{ quantity = 'running'{condition} }}]]\nwhy = ''\nchange = ''\n"
            )
        };
        assert!(RuleTable::from_toml(&text(", above = 1.0")).is_ok());
        for bad in ["", ", above = 1.0, below = 2.0", ", over = 1.0"] {
            assert!(RuleTable::from_toml(&text(bad)).is_err(), "{bad}");
        }
        let bad_template = format!("{}by_how_much = 'to {{runing}}'\n", text(", above = 1.0"));
        let error = RuleTable::from_toml(&bad_template).unwrap_err().to_string();
        assert!(error.contains("runing"), "{error}");
    }

    #[test]
    fn a_threshold_has_a_floor() {
        let condition = Condition {
            quantity: Quantity::IssueDelaySecs,
            above: Some(0.01),
            at_least: None,
            below: None,
            at_most: None,
            of: Some(Quantity::TtftLimitSecs),
            floor: Some(0.005),
            if_known: false,
            guard: false,
        };
        assert_eq!(condition.threshold(|_| Some(2.0)), Some(0.02));
        assert_eq!(condition.threshold(|_| Some(0.1)), Some(0.005));
        assert_eq!(condition.threshold(|_| None), Some(0.005));
    }
}
