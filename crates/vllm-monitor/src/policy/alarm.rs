//! Turns probabilities and conditions into alerts, each raised once and cleared once, with hysteresis.

use std::sync::Arc;

use super::{Alert, AlertChange, AlertKind};
use crate::Time;
use crate::config::Parameters;
use crate::forecast::{Assessment, FailureType};

/// The probability from which on an alert is raised, by parameters.
pub type Threshold = fn(&Parameters) -> f64;

/// The failure types of which a high probability raises an alert. The others are detected rather than predicted, or
/// their forecasts are base rates: their conditions raise alerts.
pub const THRESHOLDS: &[(FailureType, Threshold)] = &[
    (FailureType::KvPreemption, |p| p.kv.raise_probability),
    (FailureType::QueueOverflow, |p| p.queue.raise_probability),
    (FailureType::GpuMemory, |p| p.alarm.raise_probability),
    (FailureType::HostMemory, |p| p.alarm.raise_probability),
];

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Alarm {
    raised: bool,
    /// Seconds for which it should have changed.
    pressing_secs: f64,
}

impl Alarm {
    /// Returns a change, if there is one.
    fn update(&mut self, wants: Wants, dt_secs: f64, p: &Parameters) -> Option<AlertChange> {
        let presses = match wants {
            Wants::Raise => !self.raised,
            Wants::Clear => self.raised,
            Wants::Stay => false,
        };
        if !presses {
            self.pressing_secs = 0.0;
            return None;
        }
        self.pressing_secs += dt_secs;
        let limit = if self.raised {
            p.alarm.clear_after_secs
        } else {
            p.alarm.raise_after_secs
        };
        if self.pressing_secs < limit {
            return None;
        }
        self.pressing_secs = 0.0;
        self.raised = !self.raised;
        Some(if self.raised {
            AlertChange::Raised
        } else {
            AlertChange::Cleared
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Raise,
    Clear,
    Stay,
}

/// The alerts of one target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alarms {
    predicted: [Alarm; FailureType::ALL.len()],
    present: [Alarm; FailureType::ALL.len()],
}

impl Alarms {
    /// Takes what the predictors say and returns the alerts that begin or end.
    pub fn update(
        &mut self,
        target: &Arc<str>,
        at: Time,
        dt_secs: f64,
        assessments: &[(FailureType, Assessment)],
        p: &Parameters,
    ) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for (failure_type, assessment) in assessments {
            let place = failure_type.index();
            let forecast = assessment.prediction.forecast();
            let alert = |change, kind| Alert {
                target: Arc::clone(target),
                at,
                change,
                kind,
                failure_type: *failure_type,
                forecast: forecast.cloned(),
                condition: assessment.condition.clone(),
            };
            // Conditions have their own hysteresis; they are reported at once.
            let wants = if assessment.condition.is_some() {
                Wants::Raise
            } else {
                Wants::Clear
            };
            let present = &mut self.present[place];
            let change = match (wants, present.raised) {
                (Wants::Raise, false) => {
                    *present = Alarm {
                        raised: true,
                        pressing_secs: 0.0,
                    };
                    Some(AlertChange::Raised)
                }
                _ => present.update(wants, dt_secs, p),
            };
            alerts.extend(change.map(|change| alert(change, AlertKind::Present)));

            let Some((_, raise_at)) = THRESHOLDS.iter().find(|(known, _)| known == failure_type) else {
                continue;
            };
            let probability = forecast.map(|forecast| forecast.probability.at(p.alarm.horizon_secs));
            let wants = match probability {
                // Without a forecast an alarm is cleared.
                None => Wants::Clear,
                Some(_) if assessment.condition.is_some() && !self.predicted[place].raised => Wants::Stay,
                Some(probability) if probability >= raise_at(p) => Wants::Raise,
                Some(probability) if probability < p.alarm.clear_probability => Wants::Clear,
                Some(_) => Wants::Stay,
            };
            let change = self.predicted[place].update(wants, dt_secs, p);
            alerts.extend(change.map(|change| alert(change, AlertKind::Predicted)));
        }
        alerts
    }

    /// The firing alerts.
    pub fn firing(&self) -> Vec<(FailureType, AlertKind)> {
        FailureType::ALL
            .into_iter()
            .flat_map(|failure_type| {
                let place = failure_type.index();
                [
                    self.predicted[place]
                        .raised
                        .then_some((failure_type, AlertKind::Predicted)),
                    self.present[place]
                        .raised
                        .then_some((failure_type, AlertKind::Present)),
                ]
            })
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::config::Settings;
    use crate::forecast::{Basis, Forecast, Horizons, Prediction};

    fn says(p: f64) -> [(FailureType, Assessment); 1] {
        let forecast = Forecast {
            failure_type: FailureType::KvPreemption,
            probability: Horizons::all(p),
            time_to_failure: None,
            evidence: Vec::new(),
            basis: Basis {
                samples: 1,
                observed_secs: 1.0,
                model_version: Cow::Borrowed("1"),
                calibrated: true,
            },
        };
        [(FailureType::KvPreemption, Prediction::Forecast(forecast).into())]
    }

    #[test]
    fn an_alert_is_raised_once_and_ended_once() {
        let parameters = Settings::default().parameters;
        let (mut alarms, target) = (Alarms::default(), Arc::from("t"));
        let mut changes = Vec::new();
        for second in 0..200 {
            // High for a while, then between the thresholds, then low.
            let p = match second {
                0..60 => 0.95,
                60..100 => 0.45,
                _ => 0.01,
            };
            let at = Time::from_secs_f64(f64::from(second));
            for alert in alarms.update(&target, at, 1.0, &says(p), &parameters) {
                changes.push((second, alert.change));
            }
        }
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes[0].0 < 5 && changes[0].1 == AlertChange::Raised);
        assert!(changes[1].0 >= 100 + 29 && changes[1].1 == AlertChange::Cleared);
        assert_eq!(alarms.firing(), []);
    }

    #[test]
    fn one_high_sample_is_no_alert() {
        let parameters = Settings::default().parameters;
        let (mut alarms, target) = (Alarms::default(), Arc::from("t"));
        for second in 0..100 {
            let p = if second % 2 == 0 { 0.99 } else { 0.0 };
            assert_eq!(alarms.update(&target, Time::ZERO, 1.0, &says(p), &parameters), []);
        }
    }
}
