//! The sources of one target: probes and log, each a task that reports by notes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use vllm_monitor::{ProbeOutcome, Time};

use super::{Note, TargetSpec};
use crate::hub::Hub;
use crate::probe::{self, Answer, Canary, Limits};
use crate::tail::Tail;

/// Time between looks at routes that change seldom: five of these.
const SLOW: Duration = Duration::from_secs(2);
/// Time until a failed probe of `/health` is repeated, so that a failure is confirmed within a second.
const AGAIN: Duration = Duration::from_millis(250);
/// Failed probes that are repeated at once.
const CONFIRMATIONS: u32 = 4;
/// Time between looks at a log file.
const LOG_INTERVAL: Duration = Duration::from_millis(200);
/// Marks of one portion of a log that are passed on; a server that floods its log has said enough.
const MOST_MARKS: usize = 200;

/// What the sources of one target share.
pub(super) struct Shared {
    pub(super) spec: TargetSpec,
    pub(super) hub: Arc<Hub>,
    pub(super) notes: mpsc::Sender<Note>,
    /// The first model that the server lists, for the canary.
    pub(super) served: Mutex<Option<String>>,
}

impl Shared {
    async fn get(&self, path: &str, limits: Limits) -> Answer {
        probe::get(&self.spec.endpoint, path, limits, self.hub.clock()).await
    }

    /// The receiver ends after its sources, so a failure to send is the end.
    async fn send(&self, note: Note) {
        let _ended = self.notes.send(note).await;
    }
}

pub(super) async fn health(shared: Arc<Shared>, offset: Duration) {
    sleep(offset).await;
    let mut failures = 0;
    let mut next = Instant::now();
    loop {
        let answer = shared.get("/health", Limits::SHORT).await;
        let is_well = answer.probe.outcome.is_success();
        failures = if is_well { 0 } else { failures + 1 };
        shared.send(Note::Health(answer)).await;
        let interval = shared.spec.interval;
        let wait = if (1..=CONFIRMATIONS).contains(&failures) {
            AGAIN.min(interval)
        } else {
            interval
        };
        next = (next + wait).max(Instant::now());
        tokio::time::sleep_until(next).await;
    }
}

pub(super) async fn pages(shared: Arc<Shared>, offset: Duration) {
    let mut tick = interval_at(Instant::now() + offset, shared.spec.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let answer = shared.get("/metrics", Limits::PAGE).await;
        shared.send(Note::Page(answer)).await;
    }
}

/// `/version`, `/v1/models` and `/is_paused`. Only a server in its development mode has the last.
pub(super) async fn slow_routes(shared: Arc<Shared>, offset: Duration) {
    sleep(offset).await;
    let mut round: u32 = 0;
    let mut has_pause = true;
    loop {
        // A pause must be known before its silence looks like a hang; the other two change with a restart only.
        let is_full = round.is_multiple_of(5);
        if is_full {
            let answer = shared.get("/version", Limits::SHORT).await;
            if let Some(version) = answer.success().and_then(|body| probe::version(body)) {
                shared.send(Note::Version(version)).await;
            }
            let answer = shared.get("/v1/models", Limits::SHORT).await;
            if let Some(Ok((names, longest))) = answer.success().map(|body| probe::models(body)) {
                let listed = match &shared.spec.model {
                    Some(wanted) => names.contains(wanted),
                    None => !names.is_empty(),
                };
                *shared.served.lock().unwrap_or_else(PoisonError::into_inner) = names.into_iter().next();
                shared.send(Note::Models(listed, longest, answer.ended)).await;
            }
        }
        if has_pause || round.is_multiple_of(30) {
            let answer = shared.get("/is_paused", Limits::SHORT).await;
            match answer.probe.outcome {
                ProbeOutcome::Status(200) => {
                    has_pause = true;
                    let text = String::from_utf8_lossy(&answer.body).replace(' ', "");
                    shared
                        .send(Note::Paused(text.contains("\"is_paused\":true"), answer.ended))
                        .await;
                }
                ProbeOutcome::Status(_) => has_pause = false,
                _ => {}
            }
        }
        round = round.wrapping_add(1);
        sleep(SLOW).await;
    }
}

pub(super) async fn log(shared: Arc<Shared>, path: PathBuf) {
    let mut tail = Tail::new(path);
    let mut said = None;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            let found = tail.poll(|line| lines.push(line.to_owned()));
            (tail, lines, found)
        });
        let Ok((back, lines, found)) = read.await else {
            return;
        };
        tail = back;
        let state = match found {
            Ok(true) => Ok(()),
            Ok(false) => Err("the log file does not exist".to_owned()),
            Err(e) => Err(format!("the log file cannot be read: {e}")),
        };
        if said.as_ref() != Some(&state) {
            said = Some(state.clone());
            shared.send(Note::Log(state)).await;
        }
        let patterns = &shared.spec.patterns;
        let marks = lines
            .into_iter()
            .filter(|line| patterns.find(line, None, Time::ZERO).is_some())
            .take(MOST_MARKS);
        for line in marks {
            shared.send(Note::Line(line)).await;
        }
        sleep(LOG_INTERVAL).await;
    }
}

pub(super) async fn canaries(shared: Arc<Shared>, every: Duration) {
    let Ok(mut canary) = Canary::new(&shared.spec.endpoint) else {
        return;
    };
    let mut tick = interval_at(Instant::now() + every, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let is_up = shared
            .hub
            .read_target(&shared.spec.name, |target| target.state().is_up());
        let listed = shared
            .served
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let model = shared.spec.model.clone().or(listed);
        let (Some(true), Some(model)) = (is_up, model) else {
            continue;
        };
        shared.send(Note::CanarySent(shared.hub.now())).await;
        let result = canary.send(&model).await;
        shared.send(Note::CanaryDone(result, shared.hub.now())).await;
    }
}
