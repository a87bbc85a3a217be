//! [`Actor::step`] turns a situation into orders.

mod decide;
mod memory;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

pub use memory::{ActionInForce, Memory, Tally};

use crate::forecast::Recent;
use crate::guard::{LeaseStore, Limits, Mode};
use crate::learn::{Context, Load, Recommendation, Rule, Urgency};
use crate::strategy::Strategies;
use crate::{Order, Situation, Target, Ticket, Time, signal};

/// Settings of an actor.
#[derive(Debug, Clone, PartialEq)]
pub struct ActorConfig {
    /// Identity of the monitor: constant across its restarts, different for two monitors.
    pub holder: Arc<str>,
    /// Random seed. The same seed, memory and situations give the same orders.
    pub seed: u64,
    /// The guardrails.
    pub limits: Limits,
    /// Seconds over which rewards are measured for failures that the catalogue does not list.
    pub default_window_secs: f64,
    /// Whether outcomes affect later choices.
    pub learning: bool,
}

impl Default for ActorConfig {
    fn default() -> Self {
        Self {
            holder: "monitor".into(),
            seed: 1,
            limits: Limits::default(),
            default_window_secs: 60.0,
            learning: true,
        }
    }
}

/// State of a target that does not survive a restart.
#[derive(Debug, Default)]
struct Recents {
    signals: BTreeMap<Arc<str>, Recent>,
    episode: Option<Episode>,
    /// When each failure began to be seen without interruption.
    failing: BTreeMap<Arc<str>, Time>,
    /// Earliest time to repeat a suggestion in observe mode.
    suggest_from: Option<Time>,
}

/// One failure, from its first action to its end.
#[derive(Debug)]
struct Episode {
    failure: Arc<str>,
    failed: BTreeSet<Arc<str>>,
    escalated: bool,
    seen: Time,
}

/// Seconds without the failure until its episode ends.
const EPISODE_ENDS_SECS: f64 = 60.0;
/// Time constant of the usual goodput.
const USUAL_SECS: f64 = 120.0;
/// Largest number of signals kept per target.
const MOST_SIGNALS: usize = 64;

/// Decides, verifies and learns.
///
/// ```
/// use monitor_acting::guard::{Limits, MemoryLeases, Mode};
/// use monitor_acting::strategy::Strategies;
/// use monitor_acting::{Actor, ActorConfig, Evidence, EvidenceKind, Failure, Memory, Order, Situation, Target, Time};
///
/// let limits = Limits { mode: Mode::Act, allow: ["restart".into()].into(), ..Limits::default() };
/// let config = ActorConfig { limits, ..ActorConfig::default() };
/// let target = Target::new("http://a:8000", "gpu").with(["process.restart"]);
/// let mut actor = Actor::new(config, Strategies::default(), Memory::default(), [target], Time::default());
/// let situation = Situation {
///     target: "http://a:8000".into(),
///     at: Time::from_secs_f64(100.0),
///     observed: true,
///     failures: vec![Failure {
///         kind: "process_exit".into(),
///         present: true,
///         probability: 1.0,
///         secs_to_failure: Some(0.0),
///         evidence: vec![Evidence::new(EvidenceKind::ProcessExit, "it ended with code 0, not asked to")],
///     }],
///     signals: [("serving".into(), 0.0)].into(),
///     restarted: false,
///     vetoes: Default::default(),
/// };
/// let orders = actor.step(&situation, &mut MemoryLeases::default());
/// let Order::Act(intent) = &orders[0] else { panic!("an action") };
/// assert_eq!(&*intent.arm, "restart");
/// assert!(actor.step(&situation, &mut MemoryLeases::default()).is_empty(), "one action at a time");
/// ```
#[derive(Debug)]
pub struct Actor {
    config: ActorConfig,
    strategies: Strategies,
    targets: BTreeMap<Arc<str>, Target>,
    memory: Memory,
    recents: BTreeMap<Arc<str>, Recents>,
    killed: bool,
}

impl Actor {
    /// An actor with its memory.
    pub fn new(
        config: ActorConfig,
        strategies: Strategies,
        mut memory: Memory,
        targets: impl IntoIterator<Item = Target>,
        now: Time,
    ) -> Self {
        memory.sanitize(now, &config.limits);
        Self {
            config,
            strategies,
            targets: targets
                .into_iter()
                .map(|target| (Arc::clone(&target.name), target))
                .collect(),
            memory,
            recents: BTreeMap::new(),
            killed: false,
        }
    }

    /// The state that survives a restart. Save it after every step that returned orders.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The strategies.
    pub fn strategies(&self) -> &Strategies {
        &self.strategies
    }

    /// Adds a custom strategy, subject to the same guardrails.
    ///
    /// # Errors
    /// If the name is taken or is not that of the strategy.
    pub fn register_strategy(
        &mut self,
        name: &str,
        strategy: Arc<dyn crate::strategy::MitigationStrategy>,
    ) -> crate::Result<()> {
        self.strategies.register(name, strategy)
    }

    /// Adds a target or replaces its data.
    pub fn set_target(&mut self, target: Target) {
        self.targets.insert(Arc::clone(&target.name), target);
    }

    /// A target.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.get(name)
    }

    /// The guardrails.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Turns the kill switch on or off. While it is on, no decisions are made. The next step of each target orders its
    /// actions in effect to be reverted; the verdict of those that were not settled yet is `NOT_APPLICABLE`.
    /// Turning it off resumes decisions and restores no action. It is not part of [`Actor::memory`]: after a restart it
    /// is off until the caller sets it again.
    pub fn set_kill_switch(&mut self, on: bool) {
        self.killed = on;
    }

    /// Whether the kill switch is on.
    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// Resets a tripped breaker. Only an operator should call this.
    pub fn reset_breaker(&mut self) {
        self.memory.breaker.reset();
    }

    /// Whether actions would be executed now, or why not.
    pub fn acts(&self) -> Result<(), String> {
        if self.config.limits.mode == Mode::Observe {
            return Err("the mode is observe".into());
        }
        if self.killed {
            return Err("the kill switch is on".into());
        }
        match self.memory.breaker.why() {
            Some(why) => Err(format!("the breaker is tripped: {why}")),
            None => Ok(()),
        }
    }

    /// Processes a situation of one target and returns orders.
    pub fn step(&mut self, situation: &Situation, leases: &mut dyn LeaseStore) -> Vec<Order> {
        let mut orders = Vec::new();
        let Some(target) = self.targets.get(&situation.target).cloned() else {
            return orders;
        };
        self.take_in(situation);
        self.settle(situation, leases, &mut orders);
        if !situation.observed || target.excluded || self.killed {
            return orders;
        }
        self.decide(situation, &target, leases, &mut orders);
        orders
    }

    /// Processes the result of executing an action.
    pub fn report(&mut self, ticket: Ticket, result: Result<(), String>, now: Time) -> Vec<Order> {
        match result {
            Ok(()) => Vec::new(),
            Err(error) => self.could_not(ticket, &error, now),
        }
    }

    /// Recommended actions against a failure, best first. Without a situation, the most urgent context is
    /// assumed.
    pub fn get_learning_recommendations(
        &self,
        target: &str,
        failure: &str,
        situation: Option<&Situation>,
    ) -> Vec<Recommendation> {
        let Some(target) = self.targets.get(target) else {
            return Vec::new();
        };
        let context = situation
            .and_then(|situation| {
                let failure = situation.failures.iter().find(|f| f.kind.as_ref() == failure)?;
                Some(Context::of(failure, situation, &target.kind))
            })
            .unwrap_or_else(|| Context::new(failure, Urgency::Present, Load::High, Arc::clone(&target.kind)));
        self.memory
            .learner
            .recommendations(&context, &self.strategies, target, 5)
    }

    /// What was learned, as rules.
    pub fn rules(&self) -> Vec<Rule> {
        self.memory.learner.rules(&self.strategies)
    }

    /// Random numbers of one decision: a function of seed and number, so that a restart does not change them.
    fn rng(&self, decision: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        rng.set_stream(decision);
        rng
    }

    /// When a failure began to be seen without interruption.
    fn failing_since(&self, target: &str, failure: &str) -> Option<Time> {
        self.recents.get(target)?.failing.get(failure).copied()
    }

    fn window_secs(&self, failure: &str) -> f64 {
        self.strategies
            .catalogue()
            .window_secs
            .get(failure)
            .copied()
            .unwrap_or(self.config.default_window_secs)
    }

    fn take_in(&mut self, situation: &Situation) {
        let now = situation.at;
        let recents = self.recents.entry(Arc::clone(&situation.target)).or_default();
        if !situation.observed {
            return;
        }
        for (name, value) in &situation.signals {
            if let Some(recent) = recents.signals.get_mut(name.as_ref()) {
                recent.push(now, *value);
            } else if value.is_finite() && recents.signals.len() < MOST_SIGNALS {
                let mut recent = Recent::default();
                recent.push(now, *value);
                recents.signals.insert(name.as_ref().into(), recent);
            }
        }
        let threshold = self.config.limits.probability;
        let seen = |kind: &Arc<str>| {
            situation
                .failures
                .iter()
                .any(|f| f.kind == *kind && (f.present || f.probability >= threshold))
        };
        recents.failing.retain(|kind, since| seen(kind) && *since <= now);
        for failure in &situation.failures {
            if seen(&failure.kind) {
                recents.failing.entry(Arc::clone(&failure.kind)).or_insert(now);
            }
        }
        let ended = recents.episode.as_mut().is_some_and(|episode| {
            if situation.failures.iter().any(|f| f.kind == episode.failure) {
                episode.seen = now;
            }
            now.secs_since(episode.seen) > EPISODE_ENDS_SECS
        });
        if ended {
            recents.episode = None;
        }
        if let Some(serving) = situation.signal(signal::SERVING) {
            self.memory
                .ledgers
                .entry(Arc::clone(&situation.target))
                .or_default()
                .serving(serving > 0.5, now, &self.config.limits);
        }
        let is_calm = situation.failures.is_empty() && !self.memory.has_action_on(&situation.target);
        if let Some(goodput) = situation.signal(signal::GOODPUT).filter(|_| is_calm) {
            let usual = self
                .memory
                .usual
                .entry(Arc::clone(&situation.target))
                .or_insert((goodput, now));
            let dt = now.secs_since(usual.1).min(10.0);
            usual.0 += (1.0 - (-dt / USUAL_SECS).exp()) * (goodput - usual.0);
            usual.1 = now;
        }
    }
}
