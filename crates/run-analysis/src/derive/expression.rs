//! Custom metrics: small expressions over the series of a run.
//!
//! ```text
//! rate(vllm:generation_tokens_total) / sum(vllm:num_requests_running)
//! 100 * sum(rate(vllm:prefix_cache_hits_total)) / sum(rate(vllm:prefix_cache_queries_total))
//! quantile(0.9, vllm:time_to_first_token_seconds{engine="0"})
//! ```
//!
//! Numbers, `+ - * /`, parentheses, series chosen by name and equal labels, `rate(series)`, `increase(series)`,
//! `quantile(q, histogram)` per interval, and `sum(…)` and `mean(…)` over all series of what they enclose. Two sets of
//! series are combined one by one where their labels are equal; a single series is combined with every one of the
//! other side. Where a side has no value, or the result is not finite, there is no row. There are no loops, no
//! variables and no way to reach anything but the run.

mod evaluate;
mod parse;

use run_model::{RunData, SeriesData};

/// Why an expression could not be read or evaluated, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct ExpressionError {
    /// Column in the text, from 1, in characters.
    pub column: usize,
    /// What is wrong, and where it helps, what would be right.
    pub reason: String,
}

/// A read expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    node: parse::Node,
}

impl Expression {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let node = parse::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            node,
        })
    }

    /// Evaluates it over a run: series of type gauge with this name and unit, one per label set.
    pub fn evaluate(
        &self,
        run: &RunData,
        name: &str,
        unit: &str,
    ) -> Result<Vec<SeriesData>, ExpressionError> {
        evaluate::evaluate(&self.node, run, name, unit)
    }
}

/// The expression as it was written.
impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
