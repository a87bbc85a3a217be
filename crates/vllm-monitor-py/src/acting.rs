//! Strategies of the user's own, inside vLLM's process: the core of `monitor-acting` decides, the caller executes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use monitor_acting::arm::{ArmSpec, FailureResponse};
use monitor_acting::audit::{Audit, Record};
use monitor_acting::guard::{FileLeases, LeaseStore, Limits, MemoryLeases, Mode};
use monitor_acting::learn::{Recommendation, Rule};
use monitor_acting::store::MemoryFile;
use monitor_acting::strategy::{MitigationStrategy, Strategies};
use monitor_acting::{Action, Actor, ActorConfig, Memory, Order, Plan, Situation, Target, Ticket, Time};
use serde::Serialize;

use crate::error::{Error, Result};

/// What to start with.
#[derive(Debug, Clone)]
pub struct ActsConfig {
    /// The target's name, as in its situations.
    pub target: String,
    /// The guardrails; those of acting itself are `mode` and `allow`.
    pub limits: Limits,
    /// Whether outcomes affect later choices.
    pub learning: bool,
    /// Folder of memory, audit and leases. Needed to act.
    pub folder: Option<PathBuf>,
}

/// A call of a strategy that the caller is to make.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// The number to report with.
    pub ticket: u64,
    /// The strategy.
    pub strategy: Arc<str>,
    /// The failure it is against.
    pub failure: Arc<str>,
    /// Why, in words.
    pub reason: String,
    /// Signals when it was decided.
    pub metrics: std::collections::BTreeMap<String, f64>,
}

/// What it does now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActsStatus {
    /// Whether strategies are called.
    pub acts: bool,
    /// Why not.
    pub why_not: Option<String>,
    /// Decisions so far, suggestions included.
    pub decisions: u64,
    /// What was last suggested or done, newest last.
    pub recent: Vec<String>,
    /// What went wrong, newest last.
    pub problems: Vec<String>,
    /// Learned rules.
    pub rules: Vec<Rule>,
}

/// Lines that are kept of what was done and what went wrong.
const MOST_LINES: usize = 50;

/// A strategy that the caller executes.
#[derive(Debug)]
struct Own(ArmSpec);

impl MitigationStrategy for Own {
    fn spec(&self) -> &ArmSpec {
        &self.0
    }

    fn plan(
        &self,
        failure: &str,
        _: &Situation,
    ) -> std::result::Result<Plan, std::borrow::Cow<'static, str>> {
        let FailureResponse { effect, .. } = self
            .0
            .against
            .get(failure)
            .ok_or("it is not against this failure")?;
        Ok(Plan {
            actions: vec![Action::Own {
                payload: serde_json::Value::Null,
            }],
            revert: Vec::new(),
            ttl_secs: None,
            effect: effect.clone(),
        })
    }
}

#[derive(Debug)]
struct Inner {
    actor: Actor,
    audit: Option<Audit>,
    store: Option<MemoryFile>,
    leases: Box<dyn LeaseStore + Send>,
    recent: Vec<String>,
    problems: Vec<String>,
}

/// The core with its audit. Its calls may write to disk: not for the engine's threads.
#[derive(Debug)]
pub struct Acts {
    target: String,
    inner: Mutex<Inner>,
}

impl Acts {
    /// Opens memory and audit. A damaged memory is set aside, and the breaker is then tripped. Without a folder it only
    /// observes: budgets and the breaker would not survive a restart.
    ///
    /// # Errors
    /// [`Error::Acting`] if acting is turned on and a file cannot be opened.
    pub fn new(mut config: ActsConfig, now: Time) -> Result<Self> {
        let mut problems = Vec::new();
        if config.limits.mode == Mode::Act && config.folder.is_none() {
            config.limits.mode = Mode::Observe;
            problems.push(
                "auto mitigation needs a folder for its audit and its memory, so nothing is done: set \
                 VLLM_MONITOR_ACTING_DIR"
                    .to_owned(),
            );
        }
        let acts = config.limits.mode == Mode::Act;
        let (mut audit, mut store, mut memory) = (None, None, Memory::default());
        let mut leases: Box<dyn LeaseStore + Send> = Box::new(MemoryLeases::default());
        if let Some(folder) = config.folder.as_ref().filter(|_| acts) {
            let failed = |e: monitor_acting::Error| Error::Acting(e.to_string());
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::Acting(format!("{}: {e}", folder.display())))?;
            audit = Some(Audit::open(folder.join("audit.jsonl"), now).map_err(failed)?);
            leases = Box::new(FileLeases::new(folder.join("leases")).map_err(failed)?);
            let file = MemoryFile::new(folder.join("memory"));
            let (loaded, problem) = file.load_or_set_aside();
            memory = loaded;
            if let Some(problem) = problem {
                memory.breaker.trip(now, problem.to_string());
                problems.push(problem.to_string());
            }
            store = Some(file);
        }
        let actor_config = ActorConfig {
            holder: format!("process {}", std::process::id()).into(),
            limits: config.limits,
            learning: config.learning,
            ..ActorConfig::default()
        };
        let target = Target::new(config.target.as_str(), "in-process");
        Ok(Self {
            target: config.target,
            inner: Mutex::new(Inner {
                actor: Actor::new(actor_config, Strategies::default(), memory, [target], now),
                audit,
                store,
                leases,
                recent: Vec::new(),
                problems,
            }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a strategy of the caller's, described as an arm. It is called only if it was enabled by name.
    ///
    /// # Errors
    /// [`Error::Acting`] if the name is taken or the description is wrong.
    pub fn register(&self, spec: ArmSpec) -> Result<()> {
        let name = Arc::clone(&spec.name);
        self.inner()
            .actor
            .register_strategy(&name, Arc::new(Own(spec)))
            .map_err(|e| Error::Acting(e.to_string()))
    }

    /// Decides, and returns the calls to make. Each intent is on disk before it is returned.
    pub fn step(&self, situation: &Situation) -> Vec<Job> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let orders = inner.actor.step(situation, &mut *inner.leases);
        inner.take(orders, situation.at)
    }

    /// Takes how a call went, and returns calls that follow from it.
    pub fn report(&self, ticket: u64, result: std::result::Result<(), String>, now: Time) -> Vec<Job> {
        let mut inner = self.inner();
        let record = Record::Executed {
            ticket: Ticket(ticket),
            error: result.clone().err(),
        };
        inner.record(now, &record);
        if let Err(e) = &result {
            inner.problem(e.clone());
        }
        let orders = inner.actor.report(Ticket(ticket), result, now);
        inner.take(orders, now)
    }

    /// Recommended actions against a failure, best first.
    pub fn recommendations(&self, failure: &str, situation: Option<&Situation>) -> Vec<Recommendation> {
        self.inner()
            .actor
            .get_learning_recommendations(&self.target, failure, situation)
    }

    /// What it does now.
    pub fn status(&self) -> ActsStatus {
        let inner = self.inner();
        let why_not = inner.actor.acts().err();
        ActsStatus {
            acts: why_not.is_none(),
            why_not,
            decisions: inner.actor.memory().decisions,
            recent: inner.recent.clone(),
            problems: inner.problems.clone(),
            rules: inner.actor.rules(),
        }
    }

    /// Turns the kill switch on or off.
    pub fn set_kill_switch(&self, on: bool) {
        self.inner().actor.set_kill_switch(on);
    }
}

impl Inner {
    fn take(&mut self, orders: Vec<Order>, now: Time) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut open: std::collections::VecDeque<Order> = orders.into();
        let mut acted = false;
        while let Some(order) = open.pop_front() {
            acted |= !matches!(order, Order::Suggest(_));
            match order {
                Order::Suggest(intent) => {
                    self.note(format!("would use {}: {}", intent.arm, intent.reason));
                }
                Order::Act(intent) => {
                    let recorded = self.record(now, &Record::Intent(intent.clone()));
                    let is_call = !intent.plan.actions.is_empty();
                    if !recorded {
                        let why = Err("the audit cannot be written".to_owned());
                        open.extend(self.actor.report(intent.ticket, why, now));
                    } else if is_call {
                        self.note(format!("uses {}: {}", intent.arm, intent.reason));
                        jobs.push(Job {
                            ticket: intent.ticket.0,
                            strategy: Arc::clone(&intent.arm),
                            failure: Arc::clone(&intent.failure),
                            reason: intent.reason.clone(),
                            metrics: intent
                                .inputs
                                .iter()
                                .map(|(name, value)| (name.to_string(), *value))
                                .collect(),
                        });
                    }
                }
                Order::Settled(settled) => {
                    let line = format!(
                        "{}: {:?}: {}",
                        settled.arm, settled.verdict.outcome, settled.verdict.why
                    );
                    self.note(line);
                    self.record(now, &Record::Settled(settled));
                }
                Order::Escalate { failure, why, .. } => {
                    let text = format!("a person is needed against {failure}: {why}");
                    self.problem(text.clone());
                    self.record(now, &Record::Note { text });
                }
                Order::BreakerTripped { why } => {
                    let text = format!("the breaker tripped: {why}");
                    self.problem(text.clone());
                    self.record(now, &Record::Note { text });
                }
                _ => {}
            }
        }
        if acted
            && let Some(store) = &self.store
            && let Err(e) = store.save(self.actor.memory())
        {
            self.problem(format!("the memory cannot be saved: {e}"));
        }
        jobs
    }

    fn record(&mut self, now: Time, record: &Record) -> bool {
        match self.audit.as_mut().map(|audit| audit.append(now, record)) {
            Some(Ok(())) => true,
            Some(Err(e)) => {
                self.problem(format!("the audit cannot be written: {e}"));
                false
            }
            None => false,
        }
    }

    fn note(&mut self, line: String) {
        keep(&mut self.recent, line);
    }

    fn problem(&mut self, line: String) {
        keep(&mut self.problems, line);
    }
}

fn keep(lines: &mut Vec<String>, line: String) {
    if lines.len() == MOST_LINES {
        lines.remove(0);
    }
    lines.push(line);
}

#[cfg(test)]
mod tests {
    use monitor_acting::{Evidence, EvidenceKind, Failure};

    use super::*;

    fn spec(name: &str) -> ArmSpec {
        let json = serde_json::json!({
            "name": name, "title": "t", "severity": 1, "blast": "new_requests", "cost": 0.0,
            "against": { "kv_preemption": {
                "prior": { "mean": 0.9, "weight": 1000.0 },
                "effect": { "signal": "preemptions_per_sec", "change": "falls", "by": 0.2, "within_secs": 5.0 },
            }},
        });
        serde_json::from_value(json).expect("an arm")
    }

    fn situation(secs: f64) -> Situation {
        Situation {
            target: "t".into(),
            at: Time::from_secs_f64(1000.0 + secs),
            observed: true,
            failures: vec![Failure {
                kind: "kv_preemption".into(),
                present: true,
                probability: 1.0,
                secs_to_failure: Some(0.0),
                evidence: vec![
                    Evidence::new(EvidenceKind::KvCache, "KV use 0.99"),
                    Evidence::new(EvidenceKind::Queue, "9 requests wait"),
                ],
            }],
            signals: [
                ("preemptions_per_sec".into(), 5.0),
                ("goodput_tokens_per_sec".into(), 100.0),
            ]
            .into(),
            restarted: false,
            vetoes: std::collections::BTreeMap::new(),
        }
    }

    fn acts(mode: Mode, allow: &[&str], folder: Option<PathBuf>) -> Result<Acts> {
        let config = ActsConfig {
            target: "t".into(),
            limits: Limits {
                mode,
                allow: allow.iter().map(|name| (*name).into()).collect(),
                ..Limits::default()
            },
            learning: true,
            folder,
        };
        Acts::new(config, Time::from_secs_f64(1000.0))
    }

    fn run(acts: &Acts) -> Vec<Job> {
        (0..10)
            .flat_map(|second| acts.step(&situation(f64::from(second))))
            .collect()
    }

    #[test]
    fn a_strategy_is_called_only_if_acting_is_on_and_its_name_enabled() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| Some(folder.path().join(name));
        for (mode, allow, name) in [
            (Mode::Observe, &["mine"][..], "a"),
            (Mode::Act, &[], "b"),
            (Mode::Act, &["other"], "c"),
        ] {
            let acts = acts(mode, allow, place(name)).expect("started");
            acts.register(spec("mine")).expect("registered");
            assert_eq!(run(&acts), [], "{mode:?} {allow:?}");
        }
        let acts = acts(Mode::Act, &["mine"], place("d")).expect("started");
        acts.register(spec("mine")).expect("registered");
        assert!(acts.register(spec("mine")).is_err(), "the name is taken");
        let jobs = run(&acts);
        assert_eq!(jobs.len(), 1, "one action at a time");
        assert_eq!((&*jobs[0].strategy, &*jobs[0].failure), ("mine", "kv_preemption"));
        assert!(
            acts.report(
                jobs[0].ticket,
                Err("it failed".into()),
                Time::from_secs_f64(1011.0)
            )
            .is_empty()
        );
        assert!(
            acts.status()
                .problems
                .iter()
                .any(|line| line.contains("it failed"))
        );
        drop(acts);
        let records = monitor_acting::audit::read(&folder.path().join("d/audit.jsonl")).expect("the audit");
        assert!(
            matches!(records[0].1, Record::Intent(_)) && records.len() >= 2,
            "{records:?}"
        );
    }

    #[test]
    fn without_a_folder_it_observes_and_says_so() {
        let acts = acts(Mode::Act, &["mine"], None).expect("started");
        acts.register(spec("mine")).expect("registered");
        assert_eq!(run(&acts), []);
        let status = acts.status();
        assert!(
            !status.acts && status.recent[0].starts_with("would use"),
            "{status:?}"
        );
        assert!(
            status.problems[0].contains("VLLM_MONITOR_ACTING_DIR"),
            "{status:?}"
        );
    }
}
