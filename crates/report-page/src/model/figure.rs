//! Single numbers: with unit, definition and source, or absent with a reason.

use serde::{Deserialize, Serialize};

/// A value and how it came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Quantity {
    /// Measured, or computed exactly from what was measured.
    Measured {
        /// In the unit of the figure.
        value: f64,
    },
    /// Interpolated or inferred. Marked with a sign in the page.
    Estimate {
        /// In the unit of the figure.
        value: f64,
    },
    /// Not known. The page shows a dash with this reason.
    Absent {
        /// Why there is no value.
        reason: String,
    },
}

impl Quantity {
    /// A measured value.
    #[must_use]
    pub fn measured(value: f64) -> Self {
        Self::Measured { value }
    }

    /// An estimated value.
    #[must_use]
    pub fn estimate(value: f64) -> Self {
        Self::Estimate { value }
    }

    /// No value, and why.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self::Absent {
            reason: reason.into(),
        }
    }

    /// The number, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Measured { value } | Self::Estimate { value } => Some(*value),
            Self::Absent { .. } => None,
        }
    }
}

/// One number of the run.
///
/// Units are words: `seconds`, `bytes`, `ratio` (shown in percent), `joules`, `watts`, `celsius` and `hertz` are
/// scaled for reading (milliseconds, GiB); any other text, such as `tokens/s`, is shown as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// For example `Output tokens per second`.
    pub name: String,
    /// The value.
    pub quantity: Quantity,
    /// Unit of the value; see above.
    pub unit: String,
    /// What the number means, in a sentence or two.
    pub definition: String,
    /// What it was taken from, for example `LoadGen` or `client`.
    pub source: String,
    /// Lower and upper end of its uncertainty, in the same unit.
    pub interval: Option<(f64, f64)>,
    /// The limit that it is held against.
    pub limit: Option<Limit>,
}

/// A limit of a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Which side of it is allowed.
    pub relation: super::Relation,
    /// In the figure's unit.
    pub value: f64,
}

/// Where the time of one typical request went, drawn as one stacked bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// For example `Median request`.
    pub name: String,
    /// What "typical" means here, for example `mean of the requests between p45 and p55 of latency`.
    pub definition: String,
    /// From first to last in time.
    pub parts: Vec<BudgetPart>,
}

/// One part of a [`Budget`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetPart {
    /// For example `server queue`. Parts of the same name have the same colour in every bar.
    pub name: String,
    /// In seconds.
    pub seconds: Quantity,
    /// What is counted here.
    pub definition: String,
}
