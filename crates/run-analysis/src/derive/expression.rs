//! Small expressions over the series of a run: custom metrics, and conditions of alert rules.
//!
//! ```text
//! rate(vllm:generation_tokens_total) / sum(vllm:num_requests_running)
//! 100 * sum(rate(vllm:prefix_cache_hits_total)) / sum(rate(vllm:prefix_cache_queries_total))
//! quantile(0.9, vllm:time_to_first_token_seconds{engine="0"})
//! ```
//!
//! An expression over samples, as above, has numbers, `+ - * /`, parentheses, series selected by name and labels
//! (`=`, `!=`, `=~`, `!~`), `rate(series)` and `increase(series)` from sample to sample, `quantile(q, histogram)` over what
//! was observed between two samples, and `sum(…)` and `mean(…)` over all series of their argument. Two sets of series are
//! combined pairwise by equal labels; a single series is combined with every series of the other side. There is no row
//! where a side has no value or the result is not finite.
//!
//! An expression with a window, a comparison or a set operator is evaluated at instants, as PromQL does, and is PromQL:
//!
//! ```text
//! max_over_time(vllm:kv_cache_usage_perc[1m]) >= 0.95 and rate(vllm:num_preemptions_total[1m]) > 0
//! histogram_quantile(0.99, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[1m]))) > 2
//! ```
//!
//! It has `rate`, `increase`, `delta`, `avg_over_time`, `min_over_time`, `max_over_time`, `sum_over_time` and
//! `count_over_time` of a window `series[30s]`, comparisons (which keep the left side where they hold), `and`, `or` and
//! `unless` with `on` and `ignoring`, `sum`, `avg`, `min`, `max` and `count` with `by` and `without`,
//! `histogram_quantile`, and `absent`. A series has the label `instance`, host and port of its endpoint, unless it has
//! one of its own. Two differences to PromQL: `rate` and `increase` do not extrapolate to the ends of the window, and
//! where nothing of a series was sampled lately the expression has no data instead of an empty result, except in
//! `absent`, on either side of `or`, and on the right side of `unless`.
//!
//! There are no loops, no variables and no access to anything but the run. A window is at most a day long.

mod check;
mod evaluate;
mod instant;
mod parse;
mod tree;
mod vector;

use std::collections::BTreeSet;
use std::time::Duration;

use run_model::{RunData, SeriesData};

pub use vector::{InstantVector, NoData};

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
    node: tree::Node,
    /// Evaluated at instants.
    is_instant: bool,
}

impl Expression {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let node = parse::parse(text)?;
        let is_instant = check::is_instant(&node);
        if is_instant {
            check::promql(&node)?;
        }
        Ok(Self {
            text: text.to_owned(),
            node,
            is_instant,
        })
    }

    /// Evaluates it over a run: gauge series with this name and unit, one per label set.
    pub fn evaluate(
        &self,
        run: &RunData,
        name: &str,
        unit: &str,
    ) -> Result<Vec<SeriesData>, ExpressionError> {
        if self.is_instant {
            evaluate::evaluate_instants(&self.node, run, name, unit)
        } else {
            evaluate::evaluate(&self.node, run, name, unit)
        }
    }
}

/// The condition of an alert rule: an expression in PromQL that yields the series for which it holds.
///
/// ```
/// use std::time::Duration;
/// use run_analysis::derive::expression::Condition;
///
/// let condition = Condition::parse("max_over_time(vllm:kv_cache_usage_perc[30s]) > 0.95").unwrap();
/// assert_eq!(condition.longest_window(), Duration::from_secs(30));
/// assert!(Condition::parse("rate(vllm:num_preemptions_total) > 0").is_err(), "PromQL wants a window");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    expression: Expression,
}

impl Condition {
    /// Parses a condition.
    ///
    /// # Errors
    /// With the column, if the text is no expression, is not PromQL, or yields a number.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let expression = Expression::parse(text)?;
        match check::promql(&expression.node)? {
            check::Type::Vector => Ok(Self { expression }),
            check::Type::Number => Err(ExpressionError {
                column: 1,
                reason: "the expression is a number: a condition selects series".into(),
            }),
        }
    }

    /// Returns the series for which it holds at `at_ns`, with their labels and values. A sample older than `lookback` is
    /// not current.
    ///
    /// # Errors
    /// [`NoData`] if what it needs was not sampled within `lookback` or within its window.
    pub fn at(&self, run: &RunData, at_ns: i64, lookback: Duration) -> Result<InstantVector, NoData> {
        let at = instant::At {
            run,
            at_ns,
            lookback_ns: i64::try_from(lookback.as_nanos()).unwrap_or(i64::MAX),
        };
        at.value(&self.expression.node).map(|value| match value {
            vector::Value::Vector(found) => found,
            vector::Value::Number(_) => InstantVector::new(),
        })
    }

    /// Names of the series that it reads.
    pub fn metric_names(&self) -> BTreeSet<&str> {
        self.expression.node.names()
    }

    /// Its longest window; zero without one. A view that keeps this much, and the lookback, gives the same result as the
    /// whole run.
    pub fn longest_window(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.expression.node.longest_window_ns()).unwrap_or(0))
    }
}

/// Displays the condition as written, which is PromQL.
impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.expression.fmt(f)
    }
}

/// Displays the expression as written.
impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod condition_tests;
#[cfg(test)]
mod tests;
