//! Alert rules of the recorder.
//!
//! ```toml
//! [[rule]]
//! name = "KvCacheFull"
//! expression = "max_over_time(vllm:kv_cache_usage_perc[30s]) >= 0.95 and increase(vllm:num_preemptions_total[30s]) > 0"
//! for = "10s"
//! keep-firing-for = "30s"
//! severity = "warning"
//! summary = "The KV cache of engine {{engine}} is full: {{value}}."
//! ```
//!
//! A rule's expression is PromQL ([`vllm_metrics::derive::expression`]); each label set of its result is an alert with
//! Prometheus' states, and `no data` where what it needs was not recorded ([`run_diagnosis::alerts`]).
//!
//! ```text
//!  recorder ─► LiveView ─┐
//!                        ├─► Evaluator ─► changes ─► events of the record, log, webhooks, Alertmanagers
//!  stored run ───────────┘
//! ```
//!
//! - [`RuleFile`] reads rules; [`prometheus`] writes them as a rule file of Prometheus.
//! - [`Evaluator`] is pure: data and a time in, [`Change`]s out.
//! - [`over_run`] evaluates a stored run; [`Alerting`] watches a recorder.

mod change;
mod error;
mod evaluator;
pub mod prometheus;
mod receivers;
mod rules;
mod template;
mod watch;

pub use change::Change;
pub use error::{Error, Result};
pub use evaluator::{Evaluator, over_run};
pub use receivers::Receivers;
pub use rules::{Rule, RuleFile, RuleSeverity};
pub use watch::{Alerting, Summary, WatchOptions};
