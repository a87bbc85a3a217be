//! What bound the run: rules, their evidence and what to change.

use serde::{Deserialize, Serialize};

use super::Quantity;

/// The result of all rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// One sentence, for example `Bound by KV cache capacity in 71 % of the steady window`.
    pub summary: String,
    /// Every rule in the order of evaluation, those that were not evaluated included.
    pub rules: Vec<Rule>,
    /// Which rule matched when; drawn as a strip over time. Ordered, without overlaps.
    pub spans: Vec<BoundSpan>,
}

/// One rule and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// For example `KV cache capacity`.
    pub name: String,
    /// What came out.
    pub state: RuleState,
    /// Share of the evaluated seconds with this label, 0 to 1.
    pub share_ratio: Option<f64>,
    /// The numbers with their thresholds.
    pub evidence: Vec<Check>,
    /// Numbers that would have ruled the cause out, and were checked.
    pub counter_evidence: Vec<Check>,
    /// What to change.
    pub change: String,
    /// How many independent pieces of evidence agree.
    pub confidence: Option<Confidence>,
}

/// Outcome of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RuleState {
    /// The conditions held.
    Found,
    /// The rule was evaluated and its conditions did not hold.
    Clear,
    /// Something that the rule needs was not recorded.
    NotEvaluated {
        /// What is missing.
        missing: String,
    },
}

/// A number against its threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What the number is.
    pub name: String,
    /// Its value.
    pub quantity: Quantity,
    /// Unit of value and threshold, as in [`Figure`](super::Figure).
    pub unit: String,
    /// How value and threshold are compared for the check to hold.
    pub relation: Relation,
    /// The threshold.
    pub threshold: f64,
}

/// Which side of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Value at most the threshold.
    AtMost,
    /// Value at least the threshold.
    AtLeast,
    /// Value above the threshold.
    Above,
    /// Value below the threshold.
    Below,
}

impl Relation {
    /// Whether the value is on this side of the threshold.
    #[must_use]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::AtMost => value <= threshold,
            Self::AtLeast => value >= threshold,
            Self::Above => value > threshold,
            Self::Below => value < threshold,
        }
    }

    /// The mathematical sign.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::AtMost => "≤",
            Self::AtLeast => "≥",
            Self::Above => ">",
            Self::Below => "<",
        }
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// One piece of evidence.
    Weak,
    /// Two.
    Fair,
    /// Three or more.
    Strong,
}

/// A stretch of time with one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundSpan {
    /// Begin, Unix nanoseconds.
    pub start_ns: i64,
    /// End, Unix nanoseconds.
    pub end_ns: i64,
    /// Index in [`Diagnosis::rules`].
    pub rule: usize,
}
