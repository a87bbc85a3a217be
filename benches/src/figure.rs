//! One measured number as a line of text.

use std::fmt;

/// A number that an issue or the README quotes, with the context needed to read it.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its name, in snake case, with the unit at the end.
    pub name: &'static str,
    /// The measured value; `None` if it could not be measured, with the reason in `context`.
    pub value: Option<f64>,
    /// `MB/s`, `ns`, `ratio`, …
    pub unit: &'static str,
    /// Context: the peers' numbers from the same run, the input, what each candidate does.
    pub context: String,
}

impl fmt::Display for Figure {
    /// `name<TAB>value<TAB>unit<TAB>context`, with `SKIPPED` in place of a missing value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{}\t{value:.4}\t{}\t{}", self.name, self.unit, self.context),
            None => write!(f, "{}\tSKIPPED\t{}\t{}", self.name, self.unit, self.context),
        }
    }
}
