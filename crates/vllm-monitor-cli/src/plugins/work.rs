//! The two threads: one passes snapshots to the plugins, the other reads the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use monitor_acting::{Evidence, EvidenceKind, Failure, Situation};
use monitor_plugins::{Change, Fault, Tick};
use tokio_util::sync::CancellationToken;
use vllm_monitor::{Decision, Event, EventKind};

use super::{RELOAD_INTERVAL, Shared, lock};
use crate::acting::Stage;

/// Target of records that concern the plugins and no server.
const NO_TARGET: &str = "plugins";

/// Passes each snapshot to the plugins and the situation on, until it is stopped.
pub(super) async fn tick(shared: &Shared, mut stage: Stage, stop: &CancellationToken) {
    let mut reported = Reported::default();
    loop {
        let mut observed = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            observed = stage.incoming.recv() => match observed {
                Some(observed) => observed,
                None => return,
            },
        };
        if let Some(snapshot) = observed.snapshot.take() {
            let tick = shared.host.tick(&*snapshot);
            add(&mut observed.situation, &tick);
            let target = Arc::clone(&observed.situation.target);
            reported.report(shared, &target, &tick);
            lock(&shared.latest).insert(target, tick);
        }
        if stage.outgoing.try_send(observed).is_err() {
            stage.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads the folder again and again, until it is stopped.
pub(super) async fn reload(shared: &Shared, stop: &CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RELOAD_INTERVAL) => {}
        }
        match shared.host.try_reload() {
            Ok(changes) => {
                shared.changed(&changes);
                lock(&shared.edits).problem = None;
            }
            Err(error) => {
                let problem = error.to_string();
                let before = lock(&shared.edits).problem.replace(problem.clone());
                if before.as_ref() != Some(&problem) {
                    let text = format!("{problem}; the plugins that are loaded stay in use");
                    shared.say(NO_TARGET, "", text, true);
                }
            }
        }
    }
}

/// Adds findings and vetoes to a situation. A finding about a failure that the monitor found too is further evidence for
/// it; another one is a failure with one kind of evidence.
fn add(situation: &mut Situation, tick: &Tick) {
    for finding in &tick.findings {
        let evidence = Evidence::new(
            EvidenceKind::Plugin,
            format!("plugin {}: {}", finding.plugin, finding.evidence),
        );
        let known = situation
            .failures
            .iter_mut()
            .find(|failure| *failure.kind == *finding.failure);
        match known {
            Some(failure) => failure.evidence.push(evidence),
            None => situation.failures.push(Failure {
                kind: finding.failure.as_str().into(),
                present: finding.present,
                probability: finding.probability,
                secs_to_failure: finding.secs_to_failure,
                evidence: vec![evidence],
            }),
        }
    }
    for veto in &tick.vetoes {
        for action in &veto.actions {
            let why = format!("plugin {}: {}", veto.plugin, veto.why);
            situation.vetoes.entry(action.as_str().into()).or_insert(why);
        }
    }
}

/// What was reported last, so that only changes are.
#[derive(Debug, Default)]
struct Reported {
    /// Present findings, by target: plugin and failure.
    findings: BTreeMap<Arc<str>, BTreeSet<(String, String)>>,
    /// The last problem of each plugin.
    faults: BTreeMap<String, String>,
}

impl Reported {
    fn report(&mut self, shared: &Shared, target: &Arc<str>, tick: &Tick) {
        let before = self.findings.remove(target).unwrap_or_default();
        let mut now = BTreeSet::new();
        for finding in &tick.findings {
            let key = (finding.plugin.clone(), finding.failure.clone());
            if !before.contains(&key) && !now.contains(&key) {
                let how = if finding.present {
                    "is present".to_owned()
                } else {
                    format!(
                        "is expected with probability {:.0} %",
                        finding.probability * 100.0
                    )
                };
                let text = format!("{} {how}: {}", finding.failure, finding.evidence);
                shared.say(target, &finding.plugin, text, true);
            }
            now.insert(key);
        }
        for (plugin, failure) in before.difference(&now) {
            shared.say(target, plugin, format!("{failure} is over"), false);
        }
        self.findings.insert(Arc::clone(target), now);
        for fault in &tick.faults {
            let said = self.faults.insert(fault.plugin.clone(), fault.problem.clone());
            if fault.quarantined || said.as_ref() != Some(&fault.problem) {
                shared.failed(target, fault);
            }
        }
    }
}

impl Shared {
    /// Publishes something about a plugin, in words.
    pub(super) fn say(&self, target: &str, plugin: &str, text: String, is_warning: bool) {
        let target: Arc<str> = target.into();
        let event = Event {
            target: Arc::clone(&target),
            at: self.hub.now(),
            kind: EventKind::Plugin {
                plugin: plugin.to_owned(),
                text,
                is_warning,
            },
        };
        self.hub.publish(&target, Decision::Event(event));
    }

    pub(super) fn failed(&self, target: &str, fault: &Fault) {
        let what = if fault.quarantined {
            "; it is quarantined until its file is edited, and the version before runs if there is one"
        } else {
            ""
        };
        let text = format!("{}: {}{what}", fault.function, fault.problem);
        self.say(target, &fault.plugin, text, true);
    }

    /// Counts and publishes what a look at the folder changed.
    pub(super) fn changed(&self, changes: &[Change]) {
        for change in changes {
            let mut edits = lock(&self.edits);
            let count = if change.accepted {
                &mut edits.accepted
            } else {
                &mut edits.refused
            };
            *count += 1;
            drop(edits);
            self.say(NO_TARGET, &change.plugin, change.what.clone(), !change.accepted);
        }
    }
}
