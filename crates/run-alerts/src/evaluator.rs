//! Evaluates rules: data and a time in, changes out.

use std::time::Duration;

use run_diagnosis::alerts::{Alert, Evaluation, RuleState};
use vllm_metrics::RunData;

use crate::change::Change;
use crate::rules::{Rule, RuleFile};

/// The rules with the states of their alerts.
///
/// ```
/// use std::time::Duration;
/// use run_alerts::{Evaluator, RuleFile};
/// use vllm_metrics::RunData;
///
/// let file = RuleFile::parse("r.toml", "[[rule]]\nname = 'Gone'\nexpression = 'absent(x)'").unwrap();
/// let mut evaluator = Evaluator::new(&file, Duration::from_secs(1));
/// let changes = evaluator.evaluate(&RunData::default(), 0);
/// assert_eq!(changes[0].message(), "alert Gone fires, value 1");
/// ```
#[derive(Debug, Clone)]
pub struct Evaluator {
    rules: Vec<(Rule, RuleState)>,
    lookback: Duration,
}

impl Evaluator {
    /// All rules inactive. `interval` is the longest time between two samples of a series; a sample is current for twice
    /// that time.
    pub fn new(file: &RuleFile, interval: Duration) -> Self {
        let rules = file.rules.iter();
        Self {
            rules: rules
                .map(|rule| (rule.clone(), RuleState::new(rule.timing)))
                .collect(),
            lookback: interval * 2,
        }
    }

    /// How much of a run an evaluation reads.
    pub fn reads(&self) -> Duration {
        let windows = self.rules.iter().map(|(rule, _)| rule.condition.longest_window());
        windows.max().unwrap_or_default().max(self.lookback)
    }

    /// Evaluates all rules over `run` at `now_ns`; times must not go back.
    pub fn evaluate(&mut self, run: &RunData, now_ns: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (rule, state) in &mut self.rules {
            let evaluation = match rule.condition.at(run, now_ns, self.lookback) {
                Ok(found) => Evaluation::Values(found),
                Err(missing) => Evaluation::NoData {
                    because: missing.to_string(),
                },
            };
            let transitions = state.evaluate(now_ns, evaluation);
            if transitions.is_empty() {
                continue;
            }
            let simulated = is_simulated(rule, run);
            changes.extend(transitions.into_iter().map(|t| Change::new(rule, t, simulated)));
        }
        changes
    }

    /// Pending and firing alerts with the names of their rules.
    pub fn alerts(&self) -> impl Iterator<Item = (&str, &Alert)> {
        self.rules
            .iter()
            .flat_map(|(rule, state)| state.alerts().map(|alert| (rule.name.as_str(), alert)))
    }
}

fn is_simulated(rule: &Rule, run: &RunData) -> bool {
    let names = rule.condition.metric_names();
    run.manifest.simulated
        || run.series.iter().any(|series| {
            names.contains(&*series.def.metric_name) && series.def.source.ends_with("-simulated")
        })
}

/// Evaluates rules over a stored run, every `interval` from its start to its end.
pub fn over_run(file: &RuleFile, run: &RunData, interval: Duration) -> Vec<Change> {
    let mut evaluator = Evaluator::new(file, interval);
    let names = file.metric_names();
    let times = run
        .series
        .iter()
        .filter(|series| names.contains(&*series.def.metric_name))
        .flat_map(|series| {
            series
                .timestamps_ns
                .first()
                .into_iter()
                .chain(series.timestamps_ns.last())
        });
    let (Some(&first), Some(&last)) = (times.clone().min(), times.max()) else {
        return evaluator.evaluate(run, run.manifest.started_ns);
    };
    let step = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
    let mut changes = Vec::new();
    let mut now_ns = first;
    while now_ns <= last {
        changes.extend(evaluator.evaluate(run, now_ns));
        now_ns = now_ns.saturating_add(step);
    }
    changes
}
