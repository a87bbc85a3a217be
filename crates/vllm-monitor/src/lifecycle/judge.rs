//! Determines the state that the facts support. Stateless: what the tracker remembers is in [`Facts`].

use super::State;
use crate::forecast::{Condition, Severity};
use crate::log::LoadPhase;
use crate::snapshot::{ProbeOutcome, Snapshot};
use crate::{Evidence, Source};

/// What the tracker has counted and remembered, and the snapshot itself.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) conditions: &'a [Condition],
    pub(super) state: State,
    pub(super) phase: Option<LoadPhase>,
    /// Consecutive probes answered with 503.
    pub(super) unhealthy: u32,
    /// Consecutive probes whose connection was refused.
    pub(super) refused: u32,
    /// How many consecutive probes count.
    pub(super) enough: u32,
    /// Seconds since the API process last gave any sign, while connections are taken.
    pub(super) api_silent_secs: Option<f64>,
    pub(super) api_silent_limit_secs: f64,
    /// The reason the log gave for the end, and whether the server has shown since that it lives.
    pub(super) fatal: Option<&'a str>,
    pub(super) fatal_disproved: bool,
    pub(super) shutdown_logged: bool,
    pub(super) active_within_secs: Option<f64>,
    pub(super) idle_after_secs: f64,
    /// The end of the process was already taken into account.
    pub(super) exit_is_old: bool,
    pub(super) scaling: bool,
}

/// A state, with the evidence for and against it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) evidence: Vec<Evidence>,
    pub(super) against: Vec<Evidence>,
}

impl Verdict {
    fn new(state: State, evidence: Vec<Evidence>) -> Self {
        Self {
            state,
            evidence,
            against: Vec::new(),
        }
    }
}

/// The state that the facts support; `None` if there is no fresh data.
pub(super) fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let mut verdict = ended(facts)
        .or_else(|| stopping(facts))
        .or_else(|| broken(facts))
        .or_else(|| answering(facts))
        .or_else(|| starting(facts))?;
    add_contradictions(facts, &mut verdict);
    Some(verdict)
}

/// The process ended.
fn ended(facts: &Facts<'_>) -> Option<Verdict> {
    let process = &facts.snapshot.process;
    let exit = process.exit?;
    let how = match (exit.code, exit.signal) {
        (_, Some(signal)) => format!("the process was ended by signal {signal}"),
        (Some(code), None) => format!("the process ended with code {code}"),
        (None, None) => "the process ended".to_owned(),
    };
    let asked = process.stop_requested || facts.shutdown_logged || facts.state == State::ShuttingDown;
    let mut evidence = vec![Evidence::text(Source::Process, how)];
    if asked {
        evidence.push(Evidence::text(Source::Process, "a stop had been requested"));
        return Some(Verdict::new(State::NotStarted, evidence));
    }
    if facts.exit_is_old && facts.state == State::NotStarted {
        return Some(Verdict::new(State::NotStarted, evidence));
    }
    evidence.push(Evidence::text(Source::Process, "no stop had been requested"));
    if let Some(cause) = facts.fatal {
        evidence.push(Evidence::text(Source::Log, format!("the log reports {cause}")));
    }
    Some(Verdict::new(State::Error, evidence))
}

/// An orderly shutdown is under way.
fn stopping(facts: &Facts<'_>) -> Option<Verdict> {
    let process = &facts.snapshot.process;
    if !process.stop_requested && !facts.shutdown_logged {
        return None;
    }
    let gone = process.alive.if_fresh() == Some(false)
        || (process.alive.is_absent() && facts.refused >= facts.enough);
    if gone {
        let evidence = vec![Evidence::text(
            Source::Process,
            "the server is gone after a stop was requested",
        )];
        return Some(Verdict::new(State::NotStarted, evidence));
    }
    if facts.state == State::NotStarted && !is_present(facts) {
        return None;
    }
    let mut evidence = Vec::new();
    if process.stop_requested {
        evidence.push(Evidence::text(Source::Process, "a stop was requested"));
    }
    if facts.shutdown_logged {
        evidence.push(Evidence::text(Source::Log, "the log reports a shutdown"));
    }
    Some(Verdict::new(State::ShuttingDown, evidence))
}

fn is_present(facts: &Facts<'_>) -> bool {
    facts.snapshot.process.alive.if_fresh() == Some(true)
        || facts
            .snapshot
            .http
            .health
            .if_fresh()
            .is_some_and(|p| p.outcome.is_connected())
}

/// The server is out of service.
fn broken(facts: &Facts<'_>) -> Option<Verdict> {
    let mut evidence = Vec::new();
    // After an error, a loading phase in the log means a new start, so refused probes are expected.
    let was_up = facts.state.is_up() || (facts.state == State::Error && facts.phase.is_none());
    if facts.snapshot.process.alive.if_fresh() == Some(false) && facts.state != State::NotStarted {
        evidence.push(Evidence::text(
            Source::Process,
            "the process is gone, and no stop had been requested",
        ));
    }
    if facts.unhealthy >= facts.enough && was_up && !facts.scaling {
        let text = format!("/health answered 503 {} times in a row", facts.unhealthy);
        evidence.push(Evidence::text(Source::Http, text));
    }
    if facts.refused >= facts.enough && was_up {
        let text = format!(
            "connection refused {} times in a row after the server had been up",
            facts.refused
        );
        evidence.push(Evidence::text(Source::Http, text));
    }
    if let Some(silent_secs) = facts.api_silent_secs
        && silent_secs >= facts.api_silent_limit_secs
        && was_up
    {
        evidence.push(Evidence::number(
            Source::Http,
            "the API process takes connections and does not answer, for",
            silent_secs,
            "s",
        ));
        if is_api_stopped(facts.snapshot) {
            evidence.push(Evidence::text(
                Source::Process,
                "the API process is stopped by a signal or a debugger",
            ));
        }
    }
    if let Some(cause) = facts.fatal
        && !facts.fatal_disproved
        && !is_answering_well(facts)
    {
        evidence.push(Evidence::text(Source::Log, format!("the log reports {cause}")));
        // A 503 and the log line are two independent signs.
        if facts.unhealthy > 0 {
            evidence.push(Evidence::text(Source::Http, "/health answers 503"));
        }
    }
    for condition in facts.conditions.iter().filter(|c| c.severity == Severity::Failed) {
        evidence.extend(condition.evidence.iter().cloned());
    }
    (!evidence.is_empty()).then(|| Verdict::new(State::Error, evidence))
}

/// Whether a fresh reading of `/proc` shows a stopped API process.
pub(super) fn is_api_stopped(snapshot: &Snapshot) -> bool {
    snapshot
        .process
        .api_stopped
        .if_fresh()
        .is_some_and(|stopped| stopped > 0.0)
}

fn is_answering_well(facts: &Facts<'_>) -> bool {
    facts
        .snapshot
        .http
        .health
        .if_fresh()
        .is_some_and(|probe| probe.outcome.is_success())
}

/// The server answers requests.
fn answering(facts: &Facts<'_>) -> Option<Verdict> {
    let http = &facts.snapshot.http;
    let has_page = facts.snapshot.engine.sampled_at.is_some()
        && [&facts.snapshot.engine.running, &facts.snapshot.engine.steps_total]
            .iter()
            .any(|s| s.is_fresh());
    let health = http.health.if_fresh().map(|probe| probe.outcome);
    let healthy = health.is_some_and(ProbeOutcome::is_success);
    let lacks_model = http.model_listed.if_fresh() == Some(false);
    let mut evidence = Vec::new();
    if healthy {
        evidence.push(Evidence::text(Source::Http, "/health answers 200"));
    }
    if has_page {
        evidence.push(Evidence::text(Source::Metrics, "a page of metrics was read"));
    }
    if http.model_listed.if_fresh() == Some(true) {
        evidence.push(Evidence::text(Source::Http, "/v1/models lists the model"));
    }

    let mut present: Vec<Evidence> = facts
        .conditions
        .iter()
        .filter(|c| c.severity == Severity::Degraded)
        .flat_map(|c| c.evidence.iter().cloned())
        .collect();
    // A server that was up and fails one source is degraded, not dead.
    let mut is_up = match (health, has_page) {
        (Some(outcome), _) if outcome.is_success() => true,
        (Some(outcome), page) if facts.state.is_up() && outcome.is_connected() => {
            present.push(Evidence::text(
                Source::Http,
                format!("/health: {}", outcome.describe()),
            ));
            page || outcome != ProbeOutcome::Status(503)
        }
        (Some(outcome), _) if facts.state.is_up() => {
            present.push(Evidence::text(
                Source::Http,
                format!("/health: {}", outcome.describe()),
            ));
            true
        }
        (None, true) => true,
        _ => false,
    };
    // A connection that was refused before the server was up says nothing about now.
    let is_of_the_start = !facts.state.is_up()
        && http
            .metrics
            .last()
            .is_some_and(|probe| !probe.outcome.is_connected());
    if is_up && healthy && !has_page && !http.metrics.is_absent() && !is_of_the_start {
        let what = http
            .metrics
            .last()
            .map_or("no answer".to_owned(), |probe| probe.outcome.describe());
        present.push(Evidence::text(
            Source::Metrics,
            format!("no fresh page of metrics: {what}"),
        ));
    }
    if lacks_model {
        if !facts.state.is_up() {
            is_up = false;
        }
        present.push(Evidence::text(Source::Http, "/v1/models does not list the model"));
    }
    if facts.scaling && facts.state.is_up() {
        // All routes answer 503 while the size changes; the state from before stands.
        return Some(Verdict::new(
            facts.state,
            vec![Evidence::text(Source::Http, "the server is changing its size")],
        ));
    }
    if !is_up {
        return None;
    }
    if !present.is_empty() {
        return Some(Verdict {
            state: State::Degraded,
            evidence: present,
            against: evidence,
        });
    }
    let active = facts
        .active_within_secs
        .is_some_and(|secs| secs <= facts.idle_after_secs);
    if let (true, Some(secs)) = (active, facts.active_within_secs) {
        evidence.push(Evidence::number(Source::Metrics, "last activity, age", secs, "s"));
        Some(Verdict::new(State::Serving, evidence))
    } else {
        evidence.push(Evidence::text(Source::Metrics, "no request is being processed"));
        Some(Verdict::new(State::Ready, evidence))
    }
}

/// The server does not answer yet, or does not run.
fn starting(facts: &Facts<'_>) -> Option<Verdict> {
    let alive = facts.snapshot.process.alive;
    let refused = facts.refused > 0;
    if facts.state.is_up() {
        // A single refused probe of a server that was up is not enough; `broken` counts them.
        return None;
    }
    if let Some(phase) = facts.phase {
        let state = if phase.is_loading() {
            State::LoadingModel
        } else {
            State::Initializing
        };
        let text = format!("the log shows the phase {}", phase.as_str());
        return Some(Verdict::new(state, vec![Evidence::text(Source::Log, text)]));
    }
    if alive.if_fresh() == Some(true) {
        let mut verdict = Verdict::new(
            State::Initializing,
            vec![Evidence::text(
                Source::Process,
                "the process exists and does not answer yet",
            )],
        );
        if !facts.snapshot.log.followed {
            let text = "the log is not read, so loading cannot be seen";
            verdict.against.push(Evidence::text(Source::Log, text));
        }
        return Some(verdict);
    }
    if alive.if_fresh() == Some(false) || (alive.is_absent() && refused) {
        let text = if refused {
            "nothing listens"
        } else {
            "there is no process"
        };
        return match facts.state {
            // An error persists until a new process starts.
            State::Error => Some(Verdict::new(
                State::Error,
                vec![Evidence::text(Source::Http, text)],
            )),
            _ => Some(Verdict::new(
                State::NotStarted,
                vec![Evidence::text(Source::Http, text)],
            )),
        };
    }
    None
}

/// Adds the evidence against the verdict.
fn add_contradictions(facts: &Facts<'_>, verdict: &mut Verdict) {
    let snapshot = facts.snapshot;
    if verdict.state == State::Error {
        if is_answering_well(facts) {
            verdict
                .against
                .push(Evidence::text(Source::Http, "/health answers 200"));
        }
        if snapshot.process.alive.if_fresh() == Some(true) {
            verdict
                .against
                .push(Evidence::text(Source::Process, "the process exists"));
        }
    }
    if matches!(verdict.state, State::Ready | State::Serving) {
        if facts.fatal.is_some() {
            verdict
                .against
                .push(Evidence::text(Source::Log, "the log had reported a fatal error"));
        }
        if !snapshot.engine.missing.is_empty() {
            let text = format!(
                "{} expected metrics are not exported",
                snapshot.engine.missing.len()
            );
            verdict.against.push(Evidence::text(Source::Metrics, text));
        }
    }
}
