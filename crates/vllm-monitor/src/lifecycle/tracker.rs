//! Tracks one server over time: probe counts, hysteresis, loading phases, and whether it is observable.

use super::judge::{Facts, Verdict, is_api_stopped, judge};
use super::{Health, LoadHistory, SideStates, State, Transition};
use crate::config::LifecycleParameters;
use crate::forecast::{Condition, FailureType, Severity};
use crate::log::{LoadPhase, LogMark, Meaning};
use crate::rates::Rates;
use crate::snapshot::{Probe, ProbeOutcome, Snapshot};
use crate::{Evidence, Signal, Source, Time};

/// What one step of the tracker looks at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// Its rates.
    pub rates: &'a Rates,
    /// What predictors found to be failing now.
    pub conditions: &'a [Condition],
    /// The limits and delays.
    pub parameters: &'a LifecycleParameters,
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LifecycleEvent {
    /// The state changed.
    Transition(Transition),
    /// A phase of loading ended after so many seconds.
    PhaseEnded {
        /// The phase.
        phase: LoadPhase,
        /// Its duration.
        secs: f64,
    },
    /// There is no fresh data any more; the state is the last one known.
    ObservationLost,
    /// There is fresh data again.
    ObservationRestored,
    /// A line of the log was a fatal error or a warning.
    Marked(LogMark),
}

/// Tracks one server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tracker {
    state: State,
    since: Time,
    reasons: Vec<Evidence>,
    against: Vec<Evidence>,
    /// A state that the facts support, and since when.
    pending: Option<(State, Time)>,
    unobserved: bool,
    ever_seen: bool,
    phase: Option<(LoadPhase, Time)>,
    history: LoadHistory,
    last_probe_at: Option<Time>,
    unhealthy: u32,
    refused: u32,
    api_silent_since: Option<Time>,
    fatal: Option<(std::sync::Arc<str>, Time)>,
    fatal_disproved: bool,
    shutdown_logged: bool,
    exit_seen: Option<Time>,
    active_at: Option<Time>,
    compiling_until: Option<Time>,
    side: SideStates,
}

impl Tracker {
    /// A tracker that has seen nothing, with what is known from earlier starts.
    pub fn new(history: LoadHistory) -> Self {
        Self {
            history,
            ..Self::default()
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when.
    pub fn since(&self) -> Time {
        self.since
    }

    /// The evidence for the state.
    pub fn reasons(&self) -> &[Evidence] {
        &self.reasons
    }

    /// The evidence against it.
    pub fn against(&self) -> &[Evidence] {
        &self.against
    }

    /// Pauses, sleep, scaling, compilation.
    pub fn side_states(&self) -> SideStates {
        self.side
    }

    /// The phase of loading, and since when.
    pub fn phase(&self) -> Option<(LoadPhase, Time)> {
        self.phase
    }

    /// What was learned from starts.
    pub fn history(&self) -> &LoadHistory {
        &self.history
    }

    /// There is no fresh data at the moment.
    pub fn is_unobserved(&self) -> bool {
        self.unobserved || !self.ever_seen
    }

    /// The health in one word. Without fresh data it is unknown: neither healthy nor failed.
    pub fn health(&self) -> Health {
        if self.is_unobserved() {
            return Health::Unknown;
        }
        match self.state {
            State::NotStarted => Health::Stopped,
            State::Initializing | State::LoadingModel => Health::Starting,
            State::Ready | State::Serving => Health::Healthy,
            State::Degraded => Health::Degraded,
            State::Error => Health::Failed,
            State::ShuttingDown => Health::Stopping,
        }
    }

    /// Pauses, sleep, scaling and compilation as this snapshot shows them. Called before the predictors, which are
    /// suspended meanwhile.
    pub fn update_side_states(
        &mut self,
        snapshot: &Snapshot,
        parameters: &LifecycleParameters,
    ) -> SideStates {
        for mark in &snapshot.log.marks {
            if mark.means == Meaning::Compiling {
                self.compiling_until =
                    Some(mark.at + std::time::Duration::from_secs_f64(parameters.compile_gate_secs));
            }
        }
        self.side = SideStates {
            paused: snapshot.http.paused.if_fresh() == Some(true),
            sleeping: snapshot
                .engine
                .asleep
                .if_fresh()
                .is_some_and(|asleep| asleep > 0.0),
            scaling: snapshot.http.scaling.if_fresh() == Some(true),
            compiling: self.compiling_until.is_some_and(|until| snapshot.time < until),
        };
        self.side
    }

    /// A start that is late, if it is.
    pub fn startup_condition(&self, now: Time, parameters: &LifecycleParameters) -> Option<Condition> {
        let (phase, since) = self.phase.filter(|_| self.state.is_starting())?;
        let secs = now.secs_since(since);
        let deadline = self.history.deadline_secs(
            phase,
            parameters.load_phase_floor_secs,
            parameters.startup_budget_secs,
        );
        (secs > deadline).then(|| Condition {
            failure_type: FailureType::Startup,
            severity: Severity::Degraded,
            evidence: vec![
                Evidence::text(
                    Source::Log,
                    format!("loading is stuck in the phase {}", phase.as_str()),
                ),
                Evidence::number(Source::Log, "time in this phase", secs, "s"),
                Evidence::number(Source::Model, "deadline", deadline, "s"),
            ],
            advice: None,
        })
    }

    /// Takes one snapshot and returns what changed.
    pub fn update(&mut self, view: View<'_>) -> Vec<LifecycleEvent> {
        let mut events = Vec::new();
        let now = view.snapshot.time;
        self.read_log(view.snapshot, &mut events);
        self.count_probes(view.snapshot);
        self.note_activity(view);
        self.forget_old_run(view.snapshot);

        let seen = is_seen(view.snapshot);
        if seen == self.unobserved && self.ever_seen {
            events.push(if seen {
                LifecycleEvent::ObservationRestored
            } else {
                LifecycleEvent::ObservationLost
            });
        }
        self.unobserved = !seen;
        self.ever_seen |= seen;
        if !seen {
            self.pending = None;
            return events;
        }

        let api_silent_secs = self.api_silent_since.map(|since| now.secs_since(since));
        let exit = view.snapshot.process.exit.map(|exit| exit.at);
        let facts = Facts {
            snapshot: view.snapshot,
            conditions: view.conditions,
            state: self.state,
            phase: self.phase.map(|(phase, _)| phase),
            unhealthy: self.unhealthy,
            refused: self.refused,
            enough: view.parameters.unhealthy_probes.max(1.0) as u32,
            api_silent_secs,
            api_silent_limit_secs: if is_api_stopped(view.snapshot) {
                view.parameters.stopped_api_secs
            } else {
                view.parameters.silent_api_secs
            },
            fatal: self.fatal.as_ref().map(|(cause, _)| &**cause),
            fatal_disproved: self.fatal_disproved,
            shutdown_logged: self.shutdown_logged,
            active_within_secs: self.active_at.map(|at| now.secs_since(at)),
            idle_after_secs: view.parameters.idle_after_secs,
            exit_is_old: exit.is_some() && exit == self.exit_seen,
            scaling: self.side.scaling,
        };
        let verdict = judge(&facts);
        self.exit_seen = exit;
        if let Some(verdict) = verdict {
            self.settle(verdict, now, view.parameters, &mut events);
        }
        events
    }

    /// Adopts a verdict as the state once it has held long enough.
    fn settle(
        &mut self,
        verdict: Verdict,
        now: Time,
        parameters: &LifecycleParameters,
        events: &mut Vec<LifecycleEvent>,
    ) {
        if verdict.state == self.state {
            self.pending = None;
            self.reasons = verdict.evidence;
            self.against = verdict.against;
            return;
        }
        let since = match self.pending {
            Some((state, since)) if state == verdict.state => since,
            // A change between ready and serving does not restart the wait for recovery.
            Some((state, since)) if state.is_up() && verdict.state.is_up() && self.state == State::Error => {
                since
            }
            Some((State::Ready | State::Serving, since))
                if matches!(verdict.state, State::Ready | State::Serving) =>
            {
                since
            }
            _ => now,
        };
        self.pending = Some((verdict.state, since));
        if now.secs_since(since) < hold_secs(self.state, verdict.state, parameters) {
            return;
        }
        self.pending = None;
        let from = self.state;
        for to in self.state.path_to(verdict.state) {
            let mut evidence = verdict.evidence.clone();
            if to == State::Error && verdict.state != State::Error {
                let text = "the server was started again without having been asked to stop";
                evidence.push(Evidence::text(Source::Process, text));
            }
            let transition = Transition {
                at: now,
                from: self.state,
                to,
                evidence,
                against: verdict.against.clone(),
            };
            self.state = to;
            self.since = now;
            events.push(LifecycleEvent::Transition(transition));
        }
        self.reasons = verdict.evidence;
        self.against = verdict.against;
        self.entered(from, now, events);
    }

    fn entered(&mut self, from: State, now: Time, events: &mut Vec<LifecycleEvent>) {
        match self.state {
            State::Initializing if self.phase.is_none() => self.phase = Some((LoadPhase::Launch, now)),
            State::Ready | State::Serving | State::Degraded => {
                if let Some((phase, since)) = self.phase.take() {
                    self.end_phase(phase, now.secs_since(since), events);
                }
            }
            // A failed start is over. If the server was up before, the phase belongs to its restart.
            State::Error if !from.is_up() => self.phase = None,
            State::NotStarted => self.phase = None,
            _ => {}
        }
        if self.state == State::NotStarted {
            self.shutdown_logged = false;
            self.fatal = None;
        }
    }

    fn end_phase(&mut self, phase: LoadPhase, secs: f64, events: &mut Vec<LifecycleEvent>) {
        self.history.add(phase, secs);
        events.push(LifecycleEvent::PhaseEnded { phase, secs });
    }

    fn read_log(&mut self, snapshot: &Snapshot, events: &mut Vec<LifecycleEvent>) {
        for mark in &snapshot.log.marks {
            match &mark.means {
                Meaning::Phase(phase) => {
                    if *phase <= LoadPhase::EngineInit {
                        // A new start: earlier log lines no longer apply.
                        self.fatal = None;
                        self.shutdown_logged = false;
                    }
                    // A server that is up logs compilations and cache sizes when it scales.
                    if self.state.is_up() && *phase > LoadPhase::LoadWeights {
                        continue;
                    }
                    if let Some((before, since)) = self.phase
                        && before < *phase
                    {
                        self.end_phase(before, mark.at.secs_since(since), events);
                    }
                    if self.phase.is_none_or(|(before, _)| before != *phase) {
                        self.phase = Some((*phase, mark.at));
                    }
                }
                Meaning::Done(phase) => {
                    if let Some((before, since)) = self.phase
                        && before == *phase
                    {
                        let secs = mark.number.unwrap_or_else(|| mark.at.secs_since(since));
                        self.end_phase(before, secs, events);
                        let next = LoadPhase::ALL[(before as usize + 1).min(LoadPhase::ALL.len() - 1)];
                        self.phase = Some((next, mark.at));
                    }
                }
                // A server whose engine died logs a shutdown too; it was not requested.
                Meaning::Shutdown if self.fatal.is_none() && self.unhealthy == 0 => {
                    self.shutdown_logged = true;
                }
                Meaning::Shutdown => {}
                Meaning::Fatal(cause) => {
                    if self.fatal.is_none() {
                        self.fatal = Some((std::sync::Arc::clone(cause), mark.at));
                        self.fatal_disproved = false;
                    }
                    events.push(LifecycleEvent::Marked(mark.clone()));
                }
                Meaning::Warning(_) => events.push(LifecycleEvent::Marked(mark.clone())),
                Meaning::Started | Meaning::Compiling => {}
            }
        }
    }

    fn count_probes(&mut self, snapshot: &Snapshot) {
        let http = &snapshot.http;
        let primary = if http.health.is_absent() {
            http.metrics
        } else {
            http.health
        };
        let Signal::Fresh { value: probe, .. } = primary else {
            if !primary.is_absent() {
                (self.unhealthy, self.refused) = (0, 0);
            }
            return;
        };
        let answered = |probe: Signal<Probe>| {
            probe
                .if_fresh()
                .is_some_and(|p| matches!(p.outcome, ProbeOutcome::Status(_)))
        };
        let shows_progress = snapshot
            .own
            .since_progress_secs
            .if_fresh()
            .is_some_and(|secs| secs < 5.0)
            && snapshot.own.in_flight.if_fresh().is_some_and(|n| n > 0.0);
        let no_reply = |signal: Signal<Probe>| {
            signal
                .if_fresh()
                .is_some_and(|p| p.outcome == ProbeOutcome::NoReply)
        };
        if no_reply(http.health) && !answered(http.metrics) && !shows_progress {
            self.api_silent_since = self.api_silent_since.or(Some(probe.at));
        } else {
            self.api_silent_since = None;
        }
        if self.last_probe_at == Some(probe.at) {
            return;
        }
        self.last_probe_at = Some(probe.at);
        self.unhealthy = if probe.outcome == ProbeOutcome::Status(503) {
            self.unhealthy.saturating_add(1)
        } else {
            0
        };
        self.refused = if probe.outcome == ProbeOutcome::Refused {
            self.refused.saturating_add(1)
        } else {
            0
        };
        if let Some((_, at)) = &self.fatal
            && probe.outcome.is_success()
            && probe.at.secs_since(*at) > FATAL_DISPROVED_SECS
        {
            self.fatal_disproved = true;
        }
    }

    fn note_activity(&mut self, view: View<'_>) {
        let positive = |signal: Signal<f64>| signal.if_fresh().is_some_and(|value| value > 0.0);
        let rates = view.rates;
        let works = positive(rates.running)
            || positive(rates.waiting)
            || positive(view.snapshot.own.in_flight)
            || (rates.is_new_page && (positive(rates.steps) || positive(rates.finishes)));
        if works {
            self.active_at = Some(view.snapshot.time);
        }
    }

    /// A new process clears what was remembered of the previous run.
    fn forget_old_run(&mut self, snapshot: &Snapshot) {
        let process = &snapshot.process;
        let is_new =
            process.alive.if_fresh() == Some(true) && process.exit.is_none() && self.exit_seen.is_some();
        if is_new {
            self.exit_seen = None;
            self.fatal = None;
            self.shutdown_logged = false;
            (self.unhealthy, self.refused) = (0, 0);
            self.phase = self.phase.or(Some((LoadPhase::Launch, snapshot.time)));
        }
    }
}

/// A healthy answer this long after a fatal log line shows that the server survived, in seconds.
const FATAL_DISPROVED_SECS: f64 = 10.0;

/// How long a verdict must hold before it becomes the state.
fn hold_secs(from: State, to: State, parameters: &LifecycleParameters) -> f64 {
    match (from, to) {
        (State::Ready | State::Serving, State::Degraded) => parameters.degrade_after_secs,
        (State::Degraded | State::Error, State::Ready | State::Serving) => parameters.recover_after_secs,
        _ => 0.0,
    }
}

/// Whether there is any fresh data about the server.
fn is_seen(snapshot: &Snapshot) -> bool {
    let page = snapshot.engine.running.is_fresh() || snapshot.engine.steps_total.is_fresh();
    page || snapshot.http.health.is_fresh()
        || snapshot.http.metrics.is_fresh()
        || snapshot.process.alive.is_fresh()
        || snapshot.process.exit.is_some()
        || !snapshot.log.marks.is_empty()
}
