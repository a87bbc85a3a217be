//! What differs between runs, and the words for it.

use serde::{Deserialize, Serialize};

use super::Quantity;

/// The result of comparing the runs of a page with the first one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// One sentence, for example `B is slower than A: TPOT +3.4 %`.
    pub summary: String,
    /// Remarks on the method, for example `one run each: differences between runs of one build are not included`.
    pub remarks: Vec<String>,
    /// Metric by metric.
    pub differences: Vec<Difference>,
    /// Settings that are not the same.
    pub configuration: Vec<ConfigurationDifference>,
}

/// One metric of one run against the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// For example `TPOT mean`.
    pub name: String,
    /// Unit of both values, as in [`Figure`](super::Figure).
    pub unit: String,
    /// What the metric means.
    pub definition: String,
    /// Index in [`Page::runs`](super::Page::runs) of the run that is compared with run 0.
    pub run: usize,
    /// Value of run 0.
    pub baseline: Quantity,
    /// Value of the other run.
    pub value: Quantity,
    /// Relative change, 0.034 for +3.4 %.
    pub change_ratio: Option<f64>,
    /// Confidence interval of the change.
    pub interval_ratio: Option<(f64, f64)>,
    /// The verdict.
    pub conclusion: Conclusion,
    /// Whether it counts for the exit status.
    pub gate: bool,
    /// For example how much longer a run would decide an inconclusive one.
    pub note: String,
}

/// Verdict on one difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Better beyond doubt and by more than the smallest effect that counts.
    Improved,
    /// Worse beyond doubt and by more than the smallest effect that counts.
    Regressed,
    /// The whole interval is within the bounds of equivalence.
    NoDifference,
    /// The data does not decide.
    Inconclusive,
    /// The runs differ in something that makes the metric incomparable.
    NotComparable,
}

/// A setting with different values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationDifference {
    /// Name of the setting.
    pub name: String,
    /// One value per run, in the order of the page's runs; `None` where it is not known.
    pub values: Vec<Option<String>>,
    /// Whether it forbids the comparison.
    pub blocking: bool,
}
