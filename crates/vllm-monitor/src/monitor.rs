//! [`Monitor::step`]: a snapshot in, decisions out. Deterministic: no clock, no I/O, no threads, no randomness.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Settings;
use crate::forecast::{Assessment, Condition, FailureType, Prediction};
use crate::lifecycle::{Health, LifecycleEvent, LoadHistory, State as LifecycleState, Tracker, View};
use crate::policy::{
    Alarms, Alert, AlertChange, AlertKind, Decision, Event, EventKind, ObserveOnly, Policy, Situation,
};
use crate::predict::calibrate::{Calibrator, Tables};
use crate::predict::onset::Onsets;
use crate::predict::score::{ForecastScore, Outcome};
use crate::predict::{Observation, PeerTable, Predictors};
use crate::rates::{RateTracker, Rates};
use crate::snapshot::{SCHEMA, Snapshot};
use crate::{Time, state::Saved};

const TYPES: usize = FailureType::ALL.len();

/// Evaluates snapshots. Immutable: everything that changes is in [`State`].
///
/// ```
/// use vllm_monitor::{Decision, EventKind, Monitor, Probe, ProbeOutcome, SnapshotBuilder, StaleAfter, State, Time};
/// use vllm_monitor::config::Settings;
///
/// let monitor = Monitor::new(Settings::default());
/// let mut state = State::default();
/// let mut builder = SnapshotBuilder::new("http://localhost:8000", StaleAfter::default());
/// let now = Time::from_secs_f64(1.0);
/// builder.health(Probe {
///     at: now,
///     outcome: ProbeOutcome::Status(200),
///     connect_secs: Some(0.001),
///     first_byte_secs: Some(0.002),
/// });
/// builder.sample("vllm:num_requests_running", &[("engine", "0")], 0.0, now);
/// builder.page_complete(now);
///
/// let decisions = monitor.step(&mut state, &builder.build(now));
/// let Decision::Event(event) = &decisions[0] else { panic!("an event") };
/// let EventKind::Transition(transition) = &event.kind else { panic!("a transition") };
/// assert_eq!(transition.to.as_str(), "READY");
/// assert!(!transition.evidence.is_empty());
/// ```
#[derive(Debug)]
pub struct Monitor {
    settings: Settings,
    model_version: Cow<'static, str>,
    tables: Tables,
    policy: Box<dyn Policy>,
}

/// Everything that the monitor knows of its targets.
#[derive(Debug, Default)]
pub struct State {
    targets: BTreeMap<Arc<str>, TargetState>,
    peers: PeerTable,
}

/// Everything that the monitor knows of one target. Its size does not grow with time.
#[derive(Debug, Default)]
pub struct TargetState {
    at: Option<Time>,
    rate_tracker: RateTracker,
    rates: Rates,
    tracker: Tracker,
    predictors: Predictors,
    calibrators: [Calibrator; TYPES],
    scores: [ForecastScore; TYPES],
    onsets: Onsets,
    alarms: Alarms,
    assessments: Vec<(FailureType, Assessment)>,
    missing_reported: Vec<Arc<str>>,
}

impl TargetState {
    /// State, reasons, phases.
    pub fn lifecycle(&self) -> &Tracker {
        &self.tracker
    }

    /// The health after the newest step, in one word for load balancers; the reasons are in
    /// [`Self::lifecycle`]. [`Health::Unknown`] before the first fresh snapshot and while data is stale.
    pub fn health(&self) -> Health {
        self.tracker.health()
    }

    /// The newest rates.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// The newest result of each predictor.
    pub fn assessments(&self) -> &[(FailureType, Assessment)] {
        &self.assessments
    }

    /// How good the forecasts of one type were so far.
    pub fn score(&self, failure_type: FailureType) -> &ForecastScore {
        &self.scores[failure_type.index()]
    }

    /// What was learned about the calibration of one type.
    pub fn calibrator(&self, failure_type: FailureType) -> &Calibrator {
        &self.calibrators[failure_type.index()]
    }

    /// Firing alerts.
    pub fn firing_alerts(&self) -> Vec<(FailureType, AlertKind)> {
        self.alarms.firing()
    }

    /// When the newest snapshot was made.
    pub fn last_step(&self) -> Option<Time> {
        self.at
    }

    /// Accepts the present speed as the new baseline.
    pub fn accept_speed(&mut self) {
        self.predictors.degradation.accept();
    }
}

impl State {
    /// A target, if it was ever seen.
    pub fn target(&self, name: &str) -> Option<&TargetState> {
        self.targets.get(name)
    }

    /// A target, mutably.
    pub fn target_mut(&mut self, name: &str) -> Option<&mut TargetState> {
        self.targets.get_mut(name)
    }

    /// All targets by name.
    pub fn targets(&self) -> impl Iterator<Item = (&Arc<str>, &TargetState)> {
        self.targets.iter()
    }

    /// Forgets a target that is no longer monitored.
    pub fn forget(&mut self, name: &str) {
        self.targets.remove(name);
    }

    /// What survives a restart.
    pub fn save(&self, model_version: &str) -> Saved {
        let targets = self.targets.iter().map(|(name, target)| {
            let saved = crate::state::SavedTarget {
                load_history: target.tracker.history().clone(),
                predictors: target.predictors.clone(),
                calibrators: target.calibrators.to_vec(),
                scores: target.scores.to_vec(),
            };
            (Arc::clone(name), saved)
        });
        Saved {
            model_version: model_version.to_owned(),
            targets: targets.collect(),
        }
    }

    /// A state with what was learned before, and no observations yet.
    pub fn restore(saved: Saved) -> Self {
        let targets = saved.targets.into_iter().map(|(name, saved)| {
            let mut target = TargetState::with_history(saved.load_history);
            target.predictors = saved.predictors;
            for (slot, calibrator) in target.calibrators.iter_mut().zip(saved.calibrators) {
                *slot = calibrator;
            }
            for (slot, score) in target.scores.iter_mut().zip(saved.scores) {
                *slot = score;
            }
            (name, target)
        });
        Self {
            targets: targets.collect(),
            peers: PeerTable::default(),
        }
    }
}

impl TargetState {
    fn with_history(history: LoadHistory) -> Self {
        Self {
            tracker: Tracker::new(history),
            ..Self::default()
        }
    }
}

impl Monitor {
    /// A monitor that only observes.
    pub fn new(settings: Settings) -> Self {
        Self::with_policy(settings, Box::new(ObserveOnly))
    }

    /// A monitor with another policy.
    pub fn with_policy(settings: Settings, policy: Box<dyn Policy>) -> Self {
        let model_version = Cow::Owned(settings.model_version.clone());
        Self {
            settings,
            model_version,
            tables: Tables::compiled_in().clone(),
            policy,
        }
    }

    /// The same with other calibration tables, for fitting them.
    #[must_use]
    pub fn with_tables(mut self, tables: Tables) -> Self {
        self.tables = tables;
        self
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Evaluates one snapshot of one target and returns what happened: events, then alerts that changed, then what the
    /// policy decided; empty if nothing did. The newest forecasts and the state of the target are in `state`
    /// ([`State::target`]), which gets an entry for a target that it does not know.
    ///
    /// Call it at every tick, usually once a second, with the same `state` for all targets: stragglers are found by
    /// comparing them. It returns no error. A snapshot with another [`SCHEMA`] is refused, one with an earlier time than the
    /// target's last is evaluated without rates, and a gap ends open forecasts without judging them; each is an event.
    pub fn step(&self, state: &mut State, snapshot: &Snapshot) -> Vec<Decision> {
        let event = |kind| {
            Decision::Event(Event {
                target: Arc::clone(&snapshot.target),
                at: snapshot.time,
                kind,
            })
        };
        if snapshot.schema != SCHEMA {
            return vec![event(EventKind::SnapshotRefused {
                schema: snapshot.schema,
                expected: SCHEMA,
            })];
        }
        let mut decisions = Vec::new();
        if !state.targets.contains_key(&snapshot.target) {
            state
                .targets
                .insert(Arc::clone(&snapshot.target), TargetState::default());
        }
        let target = state
            .targets
            .get_mut(&snapshot.target)
            .expect("it was just inserted if it was not there");
        let p = &self.settings.parameters;

        let (dt_secs, broken) = target.passed(snapshot, p.lifecycle.longest_gap_secs, |kind| {
            decisions.push(event(kind));
        });
        let rates = target.rate_tracker.update(snapshot, p.lifecycle.longest_gap_secs);
        target.rates = rates;
        let side = target.tracker.update_side_states(snapshot, &p.lifecycle);
        let seen = Observation {
            snapshot,
            dt_secs,
            rates: &rates,
            state: target.tracker.state(),
            side,
            parameters: p,
            model_version: &self.model_version,
        };
        let residual = target
            .predictors
            .degradation
            .residual()
            .filter(|_| seen.suspended().is_none());
        state.peers.report(&snapshot.target, residual, snapshot.time);
        target.predictors.straggler.compare(residual, &state.peers);

        let mut assessments: Vec<(FailureType, Assessment)> = target
            .predictors
            .each()
            .into_iter()
            .map(|predictor| (predictor.failure_type(), predictor.observe(&seen)))
            .collect();
        if let Some(condition) = target.tracker.startup_condition(snapshot.time, &p.lifecycle) {
            let prediction = Prediction::Suspended {
                reason: Cow::Borrowed("a late start is reported as present, not predicted"),
            };
            assessments.push((
                FailureType::Startup,
                Assessment {
                    prediction,
                    condition: Some(condition),
                },
            ));
        } else {
            let prediction = Prediction::Suspended {
                reason: Cow::Borrowed("no start exceeds its deadline"),
            };
            assessments.push((FailureType::Startup, prediction.into()));
        }

        let conditions: Vec<Condition> = assessments
            .iter()
            .filter_map(|(_, assessment)| assessment.condition.clone())
            .collect();
        let view = View {
            snapshot,
            rates: &rates,
            conditions: &conditions,
            parameters: &p.lifecycle,
        };
        let before = target.tracker.state();
        for change in target.tracker.update(view) {
            decisions.push(event(match change {
                LifecycleEvent::Transition(transition) => EventKind::Transition(transition),
                LifecycleEvent::PhaseEnded { phase, secs } => EventKind::PhaseEnded { phase, secs },
                LifecycleEvent::ObservationLost => EventKind::ObservationLost,
                LifecycleEvent::ObservationRestored => EventKind::ObservationRestored,
                LifecycleEvent::Marked(mark) => EventKind::LogMark(mark),
            }));
        }
        if !snapshot.engine.missing.is_empty() && snapshot.engine.missing != target.missing_reported {
            target.missing_reported.clone_from(&snapshot.engine.missing);
            decisions.push(event(EventKind::MetricsMissing {
                names: snapshot.engine.missing.clone(),
            }));
        }

        let begun = target.onsets.update(&conditions, &rates, dt_secs);
        decisions.extend(begun.iter().map(|failure_type| {
            event(EventKind::Onset {
                failure_type: *failure_type,
            })
        }));
        let raw = target.calibrate(&mut assessments, self, &p.calibration);
        if !self.settings.features.enable_predictive {
            strip_forecasts(&mut assessments);
        }
        let alerts = target
            .alarms
            .update(&snapshot.target, snapshot.time, dt_secs, &assessments, p);
        let was_stopped = before.is_up() && !target.tracker.state().is_up();
        let step = Step {
            assessments: &assessments,
            raw: &raw,
            begun: &begun,
            alerts: &alerts,
            dt_secs,
            broken: broken || was_stopped,
        };
        target.settle_forecasts(&step, &self.settings);
        target.assessments = assessments;

        let situation = Situation {
            snapshot,
            target,
            alerts: &alerts,
            features: &self.settings.features,
        };
        let further = self.policy.decide(&situation);
        decisions.extend(alerts.into_iter().map(Decision::Alert));
        decisions.extend(further);
        decisions
    }
}

/// What one snapshot showed, for judging earlier forecasts.
#[derive(Debug)]
struct Step<'a> {
    assessments: &'a [(FailureType, Assessment)],
    raw: &'a [Option<crate::Horizons>],
    begun: &'a [FailureType],
    alerts: &'a [Alert],
    dt_secs: f64,
    broken: bool,
}

/// Removes forecasts; states, conditions and events remain.
fn strip_forecasts(assessments: &mut [(FailureType, Assessment)]) {
    for (_, assessment) in assessments {
        if assessment.prediction.forecast().is_some() {
            assessment.prediction = Prediction::Suspended {
                reason: Cow::Borrowed("forecasts are turned off"),
            };
        }
    }
}

impl TargetState {
    /// Time since the snapshot before, and whether it was not observed.
    fn passed(
        &mut self,
        snapshot: &Snapshot,
        longest_gap_secs: f64,
        mut report: impl FnMut(EventKind),
    ) -> (f64, bool) {
        let Some(before) = self.at.replace(snapshot.time) else {
            return (0.0, false);
        };
        if snapshot.time < before {
            report(EventKind::ClockWentBack {
                secs: before.secs_since(snapshot.time),
            });
            self.rate_tracker = RateTracker::default();
            return (0.0, true);
        }
        let secs = snapshot.time.secs_since(before);
        if secs > longest_gap_secs {
            report(EventKind::ObservationGap { secs });
            return (0.0, true);
        }
        (secs, false)
    }

    /// Replaces raw probabilities by calibrated ones and returns the raw ones.
    fn calibrate(
        &mut self,
        assessments: &mut [(FailureType, Assessment)],
        monitor: &Monitor,
        parameters: &crate::config::CalibrationParameters,
    ) -> Vec<Option<crate::Horizons>> {
        assessments
            .iter_mut()
            .map(|(failure_type, assessment)| {
                let Prediction::Forecast(forecast) = &mut assessment.prediction else {
                    return None;
                };
                let raw = forecast.probability;
                let calibrator = &mut self.calibrators[failure_type.index()];
                let (calibrated, applied) = calibrator.apply(*failure_type, raw, &monitor.tables, parameters);
                forecast.probability = calibrated;
                forecast.basis.calibrated = applied;
                Some(raw)
            })
            .collect()
    }

    /// Resolves pending forecasts with this snapshot's outcomes, and learns from them.
    fn settle_forecasts(&mut self, step: &Step<'_>, settings: &Settings) {
        let sample_secs = settings.parameters.calibration.sample_secs;
        for ((failure_type, assessment), raw) in step.assessments.iter().zip(step.raw) {
            let forecast = assessment
                .prediction
                .forecast()
                .map(|forecast| forecast.probability);
            let is_calm = assessment.condition.is_none() && self.onsets.is_quiet(*failure_type);
            let outcome = Outcome {
                dt_secs: step.dt_secs,
                began: step.begun.contains(failure_type),
                forecast: raw.zip(forecast).filter(|_| is_calm),
                alarm_raised: step.alerts.iter().any(|alert| {
                    alert.failure_type == *failure_type
                        && alert.kind == AlertKind::Predicted
                        && alert.change == AlertChange::Raised
                }),
                broken: step.broken,
            };
            let resolved = self.scores[failure_type.index()].update(outcome, sample_secs);
            if settings.features.enable_learning {
                for resolved in resolved {
                    self.calibrators[failure_type.index()].learn(resolved);
                }
            }
        }
    }

    /// The state in which the target is.
    pub fn state(&self) -> LifecycleState {
        self.tracker.state()
    }
}
