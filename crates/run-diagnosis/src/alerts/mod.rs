//! The states of an alert rule, with Prometheus' meaning, and one more for missing data.
//!
//! A rule's expression is evaluated elsewhere, at regular times; each result is a set of label sets with values, and
//! each label set is an alert of its own. This state machine knows nothing of expressions, clocks or messages: it takes
//! results and returns transitions.
//!
//! ```
//! use std::time::Duration;
//! use run_diagnosis::alerts::{AlertState, Evaluation, Labels, RuleState, RuleTiming};
//!
//! let mut rule = RuleState::new(RuleTiming { hold: Duration::from_secs(10), ..RuleTiming::default() });
//! let high = || Evaluation::Values(vec![(Labels::new(), 0.97)]);
//! let second = 1_000_000_000;
//! assert_eq!(rule.evaluate(0, high())[0].to, AlertState::Pending);
//! assert!(rule.evaluate(5 * second, high()).is_empty());
//! assert_eq!(rule.evaluate(10 * second, high())[0].to, AlertState::Firing);
//! assert_eq!(rule.evaluate(15 * second, Evaluation::Values(vec![]))[0].to, AlertState::Inactive);
//! ```

mod state;

pub use state::{Alert, AlertState, Evaluation, Labels, RuleState, RuleTiming, Transition};
