//! One rule's alerts from evaluation to evaluation.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// A label set: what one alert of a rule is about.
pub type Labels = BTreeMap<String, String>;

/// When a rule's alerts change state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleTiming {
    /// Prometheus' `for`: an alert is pending until its condition held at every evaluation for this long.
    pub hold: Duration,
    /// Prometheus' `keep_firing_for`: a firing alert fires this long beyond the first evaluation at which its condition
    /// no longer held.
    pub keep_firing: Duration,
    /// Consecutive evaluations without data until the rule's state is [`AlertState::NoData`]. Until then its alerts stay
    /// as they are, as Prometheus' look-back hides a missed scrape.
    pub missed_until_no_data: u32,
}

impl Default for RuleTiming {
    /// Fires at once, ends at once, no data after three missed evaluations.
    fn default() -> Self {
        Self {
            hold: Duration::ZERO,
            keep_firing: Duration::ZERO,
            missed_until_no_data: 3,
        }
    }
}

/// The state of a rule or of one of its alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition does not hold.
    Inactive,
    /// The condition holds, but not for long enough.
    Pending,
    /// The condition has held for long enough.
    Firing,
    /// The condition could not be evaluated several times. Prometheus shows this as inactive.
    NoData,
}

/// What came out of evaluating a rule's expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Evaluation {
    /// The label sets for which the condition holds, with the values that made it hold. Empty if it holds for none.
    Values(Vec<(Labels, f64)>),
    /// What the expression needs was not there, and why.
    NoData {
        /// The reason.
        because: String,
    },
}

/// An alert that is pending or firing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alert {
    /// What it is about.
    pub labels: Labels,
    /// Pending or firing.
    pub state: AlertState,
    /// Since when the condition holds, in nanoseconds on the run's clock.
    pub active_since_ns: i64,
    /// Since when it fires.
    pub firing_since_ns: Option<i64>,
    /// The newest value for which the condition held.
    pub value: f64,
    /// The first evaluation at which the condition no longer held, while it keeps firing.
    #[serde(skip)]
    ended_ns: Option<i64>,
}

/// A change of state, of one alert or, without labels, of the rule as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transition {
    /// When, in nanoseconds on the run's clock.
    pub at_ns: i64,
    /// Which alert; `None` for the rule as a whole.
    pub labels: Option<Labels>,
    /// Before.
    pub from: AlertState,
    /// After.
    pub to: AlertState,
    /// The newest value for which the condition held.
    pub value: Option<f64>,
    /// Why data is missing.
    pub because: Option<String>,
}

/// One rule's alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleState {
    timing: RuleTiming,
    alerts: BTreeMap<Labels, Alert>,
    missed: u32,
}

impl RuleState {
    /// A rule without alerts.
    pub fn new(timing: RuleTiming) -> Self {
        Self {
            timing,
            alerts: BTreeMap::new(),
            missed: 0,
        }
    }

    /// The rule's state: that of its most serious alert, or no data.
    pub fn state(&self) -> AlertState {
        if self.has_no_data() {
            return AlertState::NoData;
        }
        self.alerts
            .values()
            .map(|alert| alert.state)
            .max()
            .unwrap_or(AlertState::Inactive)
    }

    /// Pending and firing alerts, by their labels.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// Takes the result of one evaluation; times must not go back. Returns what changed: the rule as a whole first, then
    /// its alerts by their labels.
    pub fn evaluate(&mut self, now_ns: i64, evaluation: Evaluation) -> Vec<Transition> {
        match evaluation {
            Evaluation::Values(values) => self.with_values(now_ns, values),
            Evaluation::NoData { because } => self.without_data(now_ns, &because),
        }
    }

    fn has_no_data(&self) -> bool {
        self.missed > 0 && self.missed >= self.timing.missed_until_no_data
    }

    fn with_values(&mut self, now_ns: i64, values: Vec<(Labels, f64)>) -> Vec<Transition> {
        let mut transitions = Vec::new();
        if self.has_no_data() {
            transitions.push(Transition {
                at_ns: now_ns,
                labels: None,
                from: AlertState::NoData,
                to: AlertState::Inactive,
                value: None,
                because: None,
            });
        }
        self.missed = 0;
        let holding: BTreeMap<Labels, f64> = values.into_iter().collect();
        for (labels, value) in &holding {
            transitions.extend(self.holds(now_ns, labels, *value));
        }
        let timing = self.timing;
        self.alerts.retain(|labels, alert| {
            if holding.contains_key(labels) {
                return true;
            }
            let ended_ns = *alert.ended_ns.get_or_insert(now_ns);
            if alert.state == AlertState::Firing && !has_passed(timing.keep_firing, ended_ns, now_ns) {
                return true;
            }
            transitions.push(alert.transition(now_ns, alert.state, AlertState::Inactive));
            false
        });
        transitions.sort_by(|a, b| a.labels.cmp(&b.labels));
        transitions
    }

    /// The condition holds for this label set. Without `hold`, an alert fires from its first evaluation on.
    fn holds(&mut self, now_ns: i64, labels: &Labels, value: f64) -> Option<Transition> {
        let before = self
            .alerts
            .get(labels)
            .map_or(AlertState::Inactive, |alert| alert.state);
        let alert = self.alerts.entry(labels.clone()).or_insert_with(|| Alert {
            labels: labels.clone(),
            state: AlertState::Pending,
            active_since_ns: now_ns,
            firing_since_ns: None,
            value,
            ended_ns: None,
        });
        alert.value = value;
        alert.ended_ns = None;
        if alert.state == AlertState::Pending && has_passed(self.timing.hold, alert.active_since_ns, now_ns) {
            alert.state = AlertState::Firing;
            alert.firing_since_ns = Some(now_ns);
        }
        (alert.state != before).then(|| alert.transition(now_ns, before, alert.state))
    }

    fn without_data(&mut self, now_ns: i64, because: &str) -> Vec<Transition> {
        let before = self.state();
        self.missed = self.missed.saturating_add(1);
        if before == AlertState::NoData || !self.has_no_data() {
            return Vec::new();
        }
        let whole = Transition {
            at_ns: now_ns,
            labels: None,
            from: before,
            to: AlertState::NoData,
            value: None,
            because: Some(because.to_owned()),
        };
        let alerts = std::mem::take(&mut self.alerts);
        let ended = alerts.into_values().map(|alert| Transition {
            because: Some(because.to_owned()),
            ..alert.transition(now_ns, alert.state, AlertState::NoData)
        });
        std::iter::once(whole).chain(ended).collect()
    }
}

impl Alert {
    fn transition(&self, at_ns: i64, from: AlertState, to: AlertState) -> Transition {
        Transition {
            at_ns,
            labels: Some(self.labels.clone()),
            from,
            to,
            value: Some(self.value),
            because: None,
        }
    }
}

fn has_passed(duration: Duration, since_ns: i64, now_ns: i64) -> bool {
    i128::from(now_ns) - i128::from(since_ns) >= i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}
