//! The thread that decides and carries out.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use monitor_acting::actuate::Actuators;
use monitor_acting::audit::Record;
use monitor_acting::guard::{Lease, LeaseStore, Mode};
use monitor_acting::shell::{Renewal, carry_out, lock};
use monitor_acting::store::MemoryFile;
use monitor_acting::{Intent, Memory, Order, Situation, Time, signal};
use tokio::sync::{mpsc, oneshot};
use vllm_monitor::policy::{Intent as ShownIntent, Revert, Verify};
use vllm_monitor::{Decision, Event, EventKind};

use super::settings::ActingSettings;
use super::{LAST_ACTIONS, Observed, Shared, view};

/// Time between searches for what targets support.
const SEARCH_INTERVAL: Duration = Duration::from_secs(60);
/// Longest search of one target.
const SEARCH_LIMIT: Duration = Duration::from_secs(10);
/// Problems that are shown.
const MOST_PROBLEMS: usize = 20;

/// Leases by the targets' URLs: monitors may have different names for one server.
#[derive(Debug)]
pub(super) struct ByUrl {
    store: Box<dyn LeaseStore + Send>,
    urls: BTreeMap<Arc<str>, Arc<str>>,
}

impl ByUrl {
    pub(super) fn new(store: Box<dyn LeaseStore + Send>, settings: &ActingSettings) -> Self {
        let targets = settings.targets.iter();
        Self {
            store,
            urls: targets
                .map(|(name, target)| (Arc::clone(name), Arc::clone(&target.url)))
                .collect(),
        }
    }
}

impl LeaseStore for ByUrl {
    fn acquire(
        &mut self,
        target: &str,
        holder: &Arc<str>,
        now: Time,
        secs: f64,
    ) -> monitor_acting::Result<Option<Lease>> {
        let url = self.urls.get(target).map_or(target, |url| url.as_ref());
        self.store.acquire(url, holder, now, secs)
    }
}

/// Saves the memory. Returns why it could not be saved.
#[must_use]
pub(super) fn save(settings: &ActingSettings, memory: &Memory) -> Option<String> {
    let store = MemoryFile::new(settings.state_file()?);
    store.save(memory).err().map(|e| e.to_string())
}

/// Follows the kill switch: its file and its route. Returns whether it changed.
pub(super) fn follow_kill_switch(shared: &Shared) -> bool {
    let by_file = shared
        .settings
        .kill_switch_file
        .as_ref()
        .is_some_and(|path| path.exists());
    let on = by_file || shared.killed.load(Ordering::Relaxed);
    let mut audited = lock(&shared.audited);
    if audited.actor.is_killed() == on {
        return false;
    }
    audited.actor.set_kill_switch(on);
    let text = match (on, by_file) {
        (true, true) => "the kill switch is on: its file exists",
        (true, false) => "the kill switch is on: it was set through its route",
        (false, _) => "the kill switch is off",
    };
    if audited.audit.is_some() {
        let note = Record::Note {
            text: text.to_owned(),
        };
        if let Err(e) = audited.record(shared.now(), &note) {
            note_problem(shared, e);
        }
    }
    drop(audited);
    for target in shared.settings.targets.keys() {
        say(shared, target, text.to_owned(), true);
    }
    true
}

fn note_problem(shared: &Shared, problem: String) {
    let mut status = shared.status.lock().unwrap_or_else(PoisonError::into_inner);
    if status.problems.len() == MOST_PROBLEMS {
        status.problems.remove(0);
    }
    status.problems.push(problem);
}

/// Publishes something about acting, in words.
fn say(shared: &Shared, target: &Arc<str>, text: String, is_warning: bool) {
    let event = Event {
        target: Arc::clone(target),
        at: shared.hub.now(),
        kind: EventKind::Acting { text, is_warning },
    };
    shared.hub.publish(target, Decision::Event(event));
}

/// What is known of a target from one situation to the next.
#[derive(Debug, Default)]
struct Seen {
    pid: Option<u32>,
    serving: bool,
    /// What was said about its actions.
    said: Option<String>,
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    actuators: Actuators,
    leases: ByUrl,
    store: Option<MemoryFile>,
    queues: BTreeMap<Arc<str>, mpsc::UnboundedSender<Vec<Order>>>,
    seen: BTreeMap<Arc<str>, Seen>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        actuators: Actuators,
        leases: ByUrl,
        store: Option<MemoryFile>,
    ) -> Self {
        Self {
            shared,
            actuators,
            leases,
            store,
            queues: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(self, observed: mpsc::Receiver<Observed>, stopped: oneshot::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                runtime.block_on(self.work(observed, stopped));
                // Calls that do not end are given up.
                runtime.shutdown_background();
            }
            Err(e) => note_problem(&self.shared, format!("acting could not start: {e}")),
        }
    }

    async fn work(mut self, mut observed: mpsc::Receiver<Observed>, mut stopped: oneshot::Receiver<()>) {
        self.begin();
        let mut executors = tokio::task::JoinSet::new();
        for name in self.shared.settings.targets.keys() {
            let (queue, orders) = mpsc::unbounded_channel();
            let executor = Executor {
                shared: Arc::clone(&self.shared),
                actuators: self.actuators.clone(),
                store: self.store.clone(),
            };
            executors.spawn(executor.run(orders));
            self.queues.insert(Arc::clone(name), queue);
        }
        let (found_to, mut found) = mpsc::unbounded_channel();
        let mut search = tokio::time::interval(SEARCH_INTERVAL);
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                Some(observed) = observed.recv() => {
                    if self.step(observed.situation) {
                        search.reset_immediately();
                    }
                }
                Some((target, result)) = found.recv() => self.found(&target, result),
                _ = search.tick() => {
                    for name in self.shared.settings.targets.keys() {
                        let (name, actuators) = (Arc::clone(name), self.actuators.clone());
                        let to = found_to.clone();
                        tokio::spawn(async move {
                            let searched = tokio::time::timeout(SEARCH_LIMIT, actuators.find(&name)).await;
                            let _ended = to.send((name, searched.ok()));
                        });
                    }
                }
            }
        }
        self.queues.clear();
        let ended = async { while executors.join_next().await.is_some() {} };
        let _cut = tokio::time::timeout(LAST_ACTIONS, ended).await;
    }

    /// Records the start: what is turned on.
    fn begin(&self) {
        let mut audited = lock(&self.shared.audited);
        if audited.actor.limits().mode == Mode::Observe {
            return;
        }
        let allowed: Vec<&str> = audited.actor.limits().allow.iter().map(AsRef::as_ref).collect();
        let text = format!(
            "{} acts; enabled: {}",
            self.shared.settings.holder,
            if allowed.is_empty() {
                "nothing".to_owned()
            } else {
                allowed.join(", ")
            }
        );
        if let Err(e) = audited.record(self.shared.now(), &Record::Note { text }) {
            drop(audited);
            note_problem(&self.shared, e);
        }
    }

    /// Decides. Returns whether the target began to serve, so that what it supports should be looked up.
    fn step(&mut self, mut situation: Situation) -> bool {
        let shared = Arc::clone(&self.shared);
        let switched = follow_kill_switch(&shared);
        let target = Arc::clone(&situation.target);
        let pid = shared
            .hub
            .read(|_, views| views.get(&target).and_then(|view| view.pid));
        let seen = self.seen.entry(Arc::clone(&target)).or_default();
        situation.restarted = matches!((seen.pid, pid), (Some(before), Some(now)) if before != now);
        seen.pid = pid.or(seen.pid);
        let serves = situation
            .signal(signal::SERVING)
            .is_some_and(|serving| serving > 0.5);
        let began = serves && !seen.serving;
        seen.serving = serves;
        if situation.failures.is_empty() && serves {
            let mut status = shared.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.escalated.remove(target.as_ref());
        }

        let mut audited = lock(&shared.audited);
        let before = audited.actor.memory().in_effect.len();
        let orders = audited.actor.step(&situation, &mut self.leases);
        let is_news = switched || !orders.is_empty() || audited.actor.memory().in_effect.len() != before;
        if orders.iter().any(|order| !matches!(order, Order::Suggest(_))) {
            // Before anything is carried out: budgets and cool-downs survive a crash from here on.
            let problem = self
                .store
                .as_ref()
                .and_then(|store| store.save(audited.actor.memory()).err());
            drop(audited);
            if let Some(problem) = problem {
                note_problem(&shared, format!("the memory cannot be saved: {problem}"));
            }
        } else {
            drop(audited);
        }
        for order in &orders {
            publish(&shared, order);
        }
        if !orders.is_empty()
            && let Some(queue) = self.queues.get(&target)
        {
            let _ended = queue.send(orders);
        }
        if is_news {
            view::refresh(&shared);
        }
        began
    }

    /// Takes what a target supports.
    fn found(&mut self, name: &Arc<str>, found: Option<monitor_acting::actuate::TargetCapabilities>) {
        let Some(found) = found else { return };
        let mut audited = lock(&self.shared.audited);
        let Some(mut target) = audited.actor.target(name).cloned() else {
            return;
        };
        target.capabilities = found.capabilities;
        target.reasons = found.reasons;
        let allow = &audited.actor.limits().allow;
        let support = audited.actor.strategies().catalogue().support(&target);
        let (enabled, others): (Vec<_>, Vec<_>) =
            support.iter().partition(|support| allow.contains(&support.arm));
        let lost = enabled.iter().any(|support| !support.unsupported.is_empty());
        let mut text: Vec<String> = enabled
            .iter()
            .map(|support| format!("enabled: {support}"))
            .collect();
        text.extend(others.iter().map(|support| format!("not enabled: {support}")));
        let text = text.join("\n");
        audited.actor.set_target(target);
        let seen = self.seen.entry(Arc::clone(name)).or_default();
        let is_news = seen.said.as_ref() != Some(&text);
        seen.said = Some(text.clone());
        if is_news && audited.audit.is_some() {
            let note = Record::Note {
                text: format!("{name}: {text}"),
            };
            if let Err(e) = audited.record(self.shared.now(), &note) {
                drop(audited);
                note_problem(&self.shared, e);
            } else {
                drop(audited);
            }
        } else {
            drop(audited);
        }
        if is_news {
            say(&self.shared, name, text, lost);
        }
        view::refresh(&self.shared);
    }
}

/// Carries out the orders of one target, one after the other.
struct Executor {
    shared: Arc<Shared>,
    actuators: Actuators,
    store: Option<MemoryFile>,
}

impl Executor {
    async fn run(self, mut orders: mpsc::UnboundedReceiver<Vec<Order>>) {
        let shared = &self.shared;
        while let Some(orders) = orders.recv().await {
            let begun = orders.len();
            let acts = orders.iter().any(|order| !matches!(order, Order::Suggest(_)));
            let done = carry_out(orders, &shared.audited, &self.actuators, || shared.now()).await;
            // Those that followed from failures.
            for order in done.orders.iter().skip(begun) {
                publish(shared, order);
            }
            for renewal in &done.renewals {
                publish_renewal(shared, renewal);
            }
            for problem in done.problems {
                note_problem(shared, problem);
            }
            if acts {
                let audited = lock(&shared.audited);
                let problem = self
                    .store
                    .as_ref()
                    .and_then(|store| store.save(audited.actor.memory()).err());
                drop(audited);
                if let Some(problem) = problem {
                    note_problem(shared, format!("the memory cannot be saved: {problem}"));
                }
            }
            view::refresh(shared);
        }
    }
}

fn shown(intent: &Intent, observe_only: bool) -> Decision {
    Decision::Intent(ShownIntent {
        target: Arc::clone(&intent.target),
        action: Arc::clone(&intent.arm),
        failure: Arc::clone(&intent.failure),
        observe_only,
        propensity: intent.propensity,
        reason: intent.reason.clone(),
    })
}

/// Publishes a renewal after it was executed.
fn publish_renewal(shared: &Shared, renewal: &Renewal) {
    let Renewal { target, arm, error } = renewal;
    let text = match error {
        None => format!("{arm} is renewed: it helped and is still needed"),
        Some(error) => format!("{arm} could not be renewed, and ends with its present time: {error}"),
    };
    say(shared, target, text, error.is_some());
}

/// Publishes an order as a record of the monitor.
fn publish(shared: &Shared, order: &Order) {
    let hub = &shared.hub;
    match order {
        Order::Suggest(intent) => drop(hub.publish(&intent.target, shown(intent, true))),
        Order::Act(intent) if intent.plan.actions.is_empty() => {
            let text = format!("nothing is done for now: {}", intent.reason);
            say(shared, &intent.target, text, false);
        }
        Order::Act(intent) => {
            hub.publish(&intent.target, shown(intent, false));
            let verify = Verify {
                target: Arc::clone(&intent.target),
                action: Arc::clone(&intent.arm),
                deadline: vllm_monitor::Time::from_nanos(intent.deadline.as_millis() * 1_000_000),
            };
            hub.publish(&intent.target, Decision::Verify(verify));
        }
        // Published with its result.
        Order::Renew { .. } => {}
        Order::NotReverted { target, arm, why, .. } => {
            let text = format!(
                "{arm} is left to the monitor that holds the lease now, and was to be reverted: {why}"
            );
            say(shared, target, text, true);
        }
        Order::Revert { target, arm, why, .. } => {
            let revert = Revert {
                target: Arc::clone(target),
                action: Arc::clone(arm),
                why: why.clone(),
            };
            hub.publish(target, Decision::Revert(revert));
        }
        Order::Settled(settled) => {
            let mut text = format!(
                "{} against {}: {:?}: {}",
                settled.arm, settled.failure, settled.verdict.outcome, settled.verdict.why
            );
            if let Some(before) = settled.replaces {
                text.push_str(&format!(" (before: {before:?})"));
            }
            say(shared, &settled.target, text, false);
        }
        Order::Escalate { target, failure, why } => {
            let text = format!("a person is needed against {failure}: {why}");
            let mut status = shared.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.escalated.insert(target.to_string(), text.clone());
            drop(status);
            say(shared, target, text, true);
        }
        Order::BreakerTripped { why } => {
            for target in shared.settings.targets.keys() {
                say(shared, target, format!("the breaker tripped: {why}"), true);
            }
        }
        _ => {}
    }
}
