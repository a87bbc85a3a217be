//! The monitor and the baselines behind one interface: a snapshot in, what is said about it out.

use vllm_monitor::config::Settings;
use vllm_monitor::lifecycle::State as Lifecycle;
use vllm_monitor::{AlertChange, AlertKind, Decision, EventKind, FailureType, Monitor, Snapshot, State};

use super::case::Finds;

/// What a method says about one second.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Said {
    /// Probability that the failure begins within 5, 30, 60 and 300 s, if it gives one.
    pub(super) probability: Option<[f64; 4]>,
    /// Alarms that begin now, by what they name; `None` for an alarm that names nothing the campaign looks for.
    pub(super) alarms: Vec<Option<Finds>>,
}

/// Judges snapshots, in the order of time.
pub(super) trait Method {
    /// Takes the next second.
    fn see(&mut self, snapshot: &Snapshot) -> Said;

    /// Its process ends here and starts again with what it had saved.
    fn restart(&mut self) {}
}

/// The monitor.
pub(super) struct Ours {
    monitor: Monitor,
    state: State,
    finds: Finds,
}

impl Ours {
    /// With the default settings; its probabilities are those of `finds`.
    pub(super) fn new(finds: Finds) -> Self {
        Self {
            monitor: Monitor::new(Settings::default()),
            state: State::default(),
            finds,
        }
    }
}

fn named(failure_type: FailureType) -> Option<Finds> {
    match failure_type {
        FailureType::KvPreemption => Some(Finds::KvPreemption),
        FailureType::QueueOverflow => Some(Finds::QueueOverflow),
        FailureType::HostMemory => Some(Finds::HostMemory),
        FailureType::Degradation => Some(Finds::Degradation),
        FailureType::Network => Some(Finds::Network),
        _ => None,
    }
}

impl Method for Ours {
    fn see(&mut self, snapshot: &Snapshot) -> Said {
        let mut said = Said::default();
        for decision in self.monitor.step(&mut self.state, snapshot) {
            match decision {
                Decision::Event(event) => match event.kind {
                    EventKind::Transition(change) if change.to == Lifecycle::Error => {
                        said.alarms.push(Some(Finds::Error));
                    }
                    _ => {}
                },
                Decision::Alert(alert) if alert.change == AlertChange::Raised => {
                    let predicted = alert.kind == AlertKind::Predicted;
                    // What is predicted must be said before it is present; a hang is the state ERROR.
                    match named(alert.failure_type) {
                        Some(finds) if finds.is_predicted() != predicted => {}
                        Some(finds) => said.alarms.push(Some(finds)),
                        None if alert.failure_type == FailureType::Hang => {}
                        None => said.alarms.push(None),
                    }
                }
                _ => {}
            }
        }
        let Some(target) = self.state.target(&snapshot.target) else {
            return said;
        };
        said.probability = target
            .assessments()
            .iter()
            .find(|(known, _)| named(*known) == Some(self.finds))
            .and_then(|(_, assessment)| assessment.prediction.forecast())
            .map(|forecast| forecast.probability.as_array());
        said
    }

    fn restart(&mut self) {
        self.state = State::restore(self.state.save(&self.monitor.settings().model_version));
    }
}

/// A rule that holds or not: an alarm begins when it begins to hold.
pub(super) struct Rule<R> {
    rule: R,
    finds: Finds,
    holds: bool,
}

impl<R: FnMut(&Snapshot) -> Option<bool>> Rule<R> {
    /// A rule whose alarm names `finds`.
    pub(super) fn new(finds: Finds, rule: R) -> Self {
        Self {
            rule,
            finds,
            holds: false,
        }
    }
}

impl<R: FnMut(&Snapshot) -> Option<bool>> Method for Rule<R> {
    fn see(&mut self, snapshot: &Snapshot) -> Said {
        let Some(holds) = (self.rule)(snapshot) else {
            return Said::default();
        };
        let begins = holds && !self.holds;
        self.holds = holds;
        Said {
            probability: Some([f64::from(u8::from(holds)); 4]),
            alarms: if begins {
                vec![Some(self.finds)]
            } else {
                Vec::new()
            },
        }
    }
}
