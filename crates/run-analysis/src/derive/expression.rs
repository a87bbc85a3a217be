//! Custom metrics: small expressions over the series of a run.
//!
//! ```text
//! rate(vllm:generation_tokens_total) / sum(vllm:num_requests_running)
//! 100 * sum(rate(vllm:prefix_cache_hits_total)) / sum(rate(vllm:prefix_cache_queries_total))
//! quantile(0.9, vllm:time_to_first_token_seconds{engine="0"})
//! ```
//!
//! Supported are numbers, `+ - * /`, parentheses, series selected by name and equal labels, `rate(series)`,
//! `increase(series)`, `quantile(q, histogram)` per interval, and `sum(…)` and `mean(…)` over all series of
//! their argument. Two sets of series are combined pairwise by equal labels; a single series is combined with
//! every series of the other side. There is no row where a side has no value or the result is not finite.
//! There are no loops, no variables and no access to anything but the run.

mod evaluate;
mod parse;

use run_model::{RunData, SeriesData};

/// Why and where an expression could not be parsed or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct ExpressionError {
    /// Column in the text, starting at 1, in characters.
    pub column: usize,
    /// What is wrong, with a suggestion if it helps.
    pub reason: String,
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    node: parse::Node,
}

impl Expression {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let node = parse::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            node,
        })
    }

    /// Evaluates it over a run: gauge series with this name and unit, one per label set.
    pub fn evaluate(
        &self,
        run: &RunData,
        name: &str,
        unit: &str,
    ) -> Result<Vec<SeriesData>, ExpressionError> {
        evaluate::evaluate(&self.node, run, name, unit)
    }
}

/// Displays the expression as written.
impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
