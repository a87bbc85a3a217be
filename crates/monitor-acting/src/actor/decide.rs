//! From a failure to an intent: finds the admissible actions and chooses one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt as _;

use super::settle::compare_secs;
use super::{ActionInForce, Actor, Episode};
use crate::arm::{Blast, NOTHING};
use crate::forecast::Expectation;
use crate::guard::{LeaseStore, Ledger, Mode, Question, Refusal, enough_evidence};
use crate::learn::{Candidate, Choice, Context};
use crate::strategy::MitigationStrategy;
use crate::{Action, Failure, Intent, Order, Plan, Situation, Target, Ticket, Time, signal};

/// Minimum probability of being better than doing nothing for an arm to be adequate.
const ADEQUATE: f64 = 0.1;
/// Seconds between two suggestions for one target in observe mode.
const SUGGEST_SECS: f64 = 60.0;

/// An admissible arm with its plan.
struct Admissible {
    strategy: Arc<dyn MitigationStrategy>,
    plan: Plan,
    better: f64,
}

impl Actor {
    /// The failure to act on: present before predicted, probable before less probable.
    fn pressing<'a>(&self, situation: &'a Situation) -> Option<&'a Failure> {
        let limits = &self.config.limits;
        situation
            .failures
            .iter()
            .filter(|f| f.present || f.probability >= limits.probability)
            .filter(|f| enough_evidence(&f.evidence, limits.evidence_kinds))
            .filter(|f| {
                let since = self.failing_since(&situation.target, &f.kind);
                let secs = since.map_or(0.0, |since| situation.at.secs_since(since));
                secs >= limits.confirm_secs || f.evidence.iter().any(|e| e.kind.is_sufficient())
            })
            .max_by(|a, b| {
                let order = |f: &Failure| (f.present, f.probability);
                let ((pa, qa), (pb, qb)) = (order(a), order(b));
                pa.cmp(&pb).then(qa.total_cmp(&qb)).then(b.kind.cmp(&a.kind))
            })
    }

    pub(super) fn decide(
        &mut self,
        situation: &Situation,
        target: &Target,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let now = situation.at;
        let in_flight = self
            .memory
            .in_effect
            .iter()
            .any(|s| s.intent.target == situation.target && !s.settled);
        if in_flight {
            return;
        }
        let Some(failure) = self.pressing(situation) else {
            return;
        };
        let acts = self.acts().is_ok();
        let recents = self.recents.entry(Arc::clone(&situation.target)).or_default();
        if !acts && recents.suggest_from.is_some_and(|from| now < from) {
            return;
        }
        if recents
            .episode
            .as_ref()
            .is_none_or(|episode| episode.failure != failure.kind)
        {
            recents.episode = Some(Episode {
                failure: Arc::clone(&failure.kind),
                failed: BTreeSet::new(),
                escalated: false,
                seen: now,
            });
        }
        let (admissible, refused) = self.admissible(situation, failure, target);
        if acts {
            let ledger = self.memory.ledgers.entry(Arc::clone(&target.name)).or_default();
            let exhausted = ledger.exhausted(now, &self.config.limits);
            // An arm in cool-down will be admissible again; one that failed or never was admissible will not.
            let waits = refused.iter().any(|refusal| refusal.waits);
            let why = exhausted.or_else(|| {
                (admissible.is_empty() && failure.present && !waits)
                    .then(|| "no action that is allowed is left".to_owned())
            });
            if let Some(why) = why {
                self.escalate(situation, failure, why, &refused, orders);
                return;
            }
        }
        if admissible.is_empty() {
            return;
        }
        self.choose(situation, failure, target, admissible, refused, leases, orders);
    }

    fn escalate(
        &mut self,
        situation: &Situation,
        failure: &Failure,
        mut why: String,
        refused: &[Refusal],
        orders: &mut Vec<Order>,
    ) {
        let episode = self
            .recents
            .get_mut(&situation.target)
            .and_then(|recents| recents.episode.as_mut());
        if let Some(episode) = episode.filter(|episode| !episode.escalated) {
            episode.escalated = true;
            for refusal in refused.iter().filter(|r| r.why != "it is not opted in") {
                why.push_str(&format!("; {}: {}", refusal.arm, refusal.why));
            }
            orders.push(Order::Escalate {
                target: Arc::clone(&situation.target),
                failure: Arc::clone(&failure.kind),
                why,
            });
        }
    }

    fn admissible(
        &self,
        situation: &Situation,
        failure: &Failure,
        target: &Target,
    ) -> (Vec<Admissible>, Vec<Refusal>) {
        let context = Context::of(failure, situation, &target.kind);
        let empty = (Ledger::default(), BTreeSet::new());
        let episode = self
            .recents
            .get(&target.name)
            .and_then(|recents| recents.episode.as_ref());
        let question = Question {
            situation,
            failure,
            target,
            ledger: self.memory.ledgers.get(&target.name).unwrap_or(&empty.0),
            failed: episode.map_or(&empty.1, |episode| &episode.failed),
        };
        let mut limits = self.config.limits.clone();
        let (mut admissible, mut refused) = (Vec::new(), Vec::new());
        for strategy in self.strategies.against(&failure.kind) {
            let spec = strategy.spec();
            if self.config.limits.mode == Mode::Observe {
                // A suggestion does not require the action to be enabled.
                limits.allow.insert(Arc::clone(&spec.name));
            }
            let missing = self.strategies.catalogue().missing(&spec.requires, target);
            let refusal = if missing.is_empty() {
                limits.refuse(spec, &question)
            } else {
                let why = format!("unsupported here: {}", missing.join("; "));
                Some(Refusal::new(spec, why))
            };
            let planned = match refusal {
                Some(refusal) => Err(refusal),
                None => strategy
                    .plan(&failure.kind, situation)
                    .map_err(|why| Refusal::new(spec, why)),
            };
            let planned = planned.and_then(|plan| match self.lever_that_waits(&plan, &question) {
                Some(why) => Err(Refusal::for_now(spec, why)),
                None => Ok(plan),
            });
            match planned {
                Err(refusal) => refused.push(refusal),
                Ok(plan) => {
                    let prior = |arm: &str| crate::learn::prior_of(&self.strategies, arm, &failure.kind);
                    let better = self.memory.learner.probability_better(
                        &context,
                        &spec.name,
                        prior(&spec.name),
                        prior(NOTHING),
                    );
                    admissible.push(Admissible {
                        strategy: Arc::clone(strategy),
                        plan,
                        better,
                    });
                }
            }
        }
        self.keep_mildest(&mut admissible, &mut refused);
        (admissible, refused)
    }

    /// Keeps the arms up to the smallest blast radius with an adequate one.
    fn keep_mildest(&self, admissible: &mut Vec<Admissible>, refused: &mut Vec<Refusal>) {
        let adequate = |a: &Admissible| a.better >= ADEQUATE;
        let blast = admissible
            .iter()
            .filter(|a| adequate(a))
            .map(|a| a.strategy.spec().blast)
            .min()
            .unwrap_or(Blast::None);
        admissible.retain(|a| {
            let spec = a.strategy.spec();
            let why = if spec.blast > blast && adequate(a) {
                "an action that affects less is to be tried first"
            } else if !adequate(a) {
                "it is hardly ever better than doing nothing"
            } else {
                return true;
            };
            refused.push(Refusal::new(spec, why));
            false
        });
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of `decide`, and what it found"
    )]
    fn choose(
        &mut self,
        situation: &Situation,
        failure: &Failure,
        target: &Target,
        admissible: Vec<Admissible>,
        refused: Vec<Refusal>,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let now = situation.at;
        let acts = self.acts().is_ok();
        let mut fence = 0;
        if acts {
            let limits = self.config.limits.clone();
            if let Err(acted) = self
                .memory
                .fleet
                .permits(&target.name, now, &limits, self.targets.len())
            {
                let why = format!(
                    "{acted} of {} targets were acted on within {:.0} s, and another one needs it",
                    self.targets.len(),
                    limits.fleet_window_secs
                );
                if self.memory.breaker.trip(now, why.clone()) {
                    orders.push(Order::BreakerTripped { why });
                }
                return;
            }
            match leases.acquire(&target.name, &self.config.holder, now, limits.lease_secs) {
                Ok(Some(lease)) => fence = lease.fence,
                Ok(None) => return,
                Err(e) => {
                    self.escalate(
                        situation,
                        failure,
                        format!("no lease can be taken: {e}"),
                        &[],
                        orders,
                    );
                    return;
                }
            }
        }
        let context = Context::of(failure, situation, &target.kind);
        let mut rng = self.rng(self.memory.decisions);
        let hold_out = if acts { self.config.limits.hold_out } else { 0.0 };
        let held_out = rng.random::<f64>() < hold_out;
        let jitter: f64 = rng.random();
        let mut candidates: Vec<Candidate> = admissible
            .iter()
            .map(|a| Candidate {
                arm: Arc::clone(&a.strategy.spec().name),
                prior: crate::learn::prior_of(&self.strategies, &a.strategy.spec().name, &failure.kind),
            })
            .collect();
        let nothing: Arc<str> = NOTHING.into();
        candidates.push(Candidate {
            arm: Arc::clone(&nothing),
            prior: crate::learn::prior_of(&self.strategies, NOTHING, &failure.kind),
        });
        let mut choice = self.memory.learner.choose(&context, &candidates, &mut rng);
        apply_hold_out(&mut choice, hold_out, held_out, &nothing);
        let chosen = admissible
            .into_iter()
            .find(|a| a.strategy.spec().name == choice.arm)
            .map(|a| (a.strategy, a.plan));
        let (spec, plan) = match chosen {
            Some((strategy, plan)) => (strategy.spec().clone(), plan),
            None => match self.nothing_plan(failure, situation) {
                Some(found) => found,
                None => return,
            },
        };
        let ticket = Ticket(self.memory.decisions);
        let intent = Intent {
            ticket,
            target: Arc::clone(&target.name),
            at: now,
            arm: Arc::clone(&spec.name),
            failure: Arc::clone(&failure.kind),
            reason: reason(failure),
            deadline: now.plus_secs(plan.effect.within_secs),
            plan,
            evidence: failure.evidence.clone(),
            context,
            propensity: choice.propensity(),
            propensities: choice.propensities,
            held_out,
            inputs: situation.signals.clone(),
            refused,
            fence,
            policy_version: self.strategies.catalogue().version.clone().into(),
        };
        if !acts {
            self.memory.decisions += 1;
            if let Some(recents) = self.recents.get_mut(&target.name) {
                recents.suggest_from = Some(now.plus_secs(SUGGEST_SECS));
            }
            orders.push(Order::Suggest(Box::new(intent)));
            return;
        }
        self.commit(intent, &spec, jitter, orders);
    }

    fn nothing_plan(&self, failure: &Failure, situation: &Situation) -> Option<(crate::arm::ArmSpec, Plan)> {
        let strategy = self.strategies.get(NOTHING)?;
        let plan = strategy.plan(&failure.kind, situation).ok()?;
        Some((strategy.spec().clone(), plan))
    }

    fn commit(&mut self, intent: Intent, spec: &crate::arm::ArmSpec, jitter: f64, orders: &mut Vec<Order>) {
        let (now, target) = (intent.at, Arc::clone(&intent.target));
        self.memory.decisions += 1;
        self.memory
            .tallies
            .entry(Arc::clone(&intent.arm))
            .or_default()
            .chosen += 1;
        if !intent.plan.actions.is_empty() {
            self.memory.ledgers.entry(Arc::clone(&target)).or_default().note(
                &intent.arm,
                spec.restarts,
                now,
                jitter,
                &self.config.limits,
            );
            self.memory.fleet.note(&target, now);
        }
        let lever_since = self.lever_since(&target, &intent.plan).unwrap_or(now);
        self.supersede(&intent);
        let effect = &intent.plan.effect;
        let signals = self.recents.get(&target).map(|recents| &recents.signals);
        // Points from before the failure do not predict its course.
        let since = self.failing_since(&target, &intent.failure).unwrap_or(now);
        let expect = |name: &str| {
            let recent = signals.and_then(|signals| signals.get(name))?;
            recent
                .expect(since, effect.within_secs, compare_secs(effect.within_secs))
                .or_else(|| recent.persist())
        };
        let goodput = signals.and_then(|signals| signals.get(signal::GOODPUT));
        let recent = goodput.and_then(|recent| recent.mean(now, 60.0)).unwrap_or(0.0);
        let usual = self.memory.usual.get(&target).map_or(0.0, |(usual, _)| *usual);
        let reference = usual.max(recent);
        // Until a failure has lasted as long as its window, its whole effect on goodput is not known.
        let is_new = now.secs_since(since) < self.window_secs(&intent.failure);
        let goodput = expect(signal::GOODPUT).map(|trend| {
            if is_new {
                self.with_what_doing_nothing_earns(trend, reference, &intent)
            } else {
                trend
            }
        });
        let action = ActionInForce {
            expected: expect(&effect.signal),
            goodput,
            reference,
            cost: spec.cost,
            restarts: spec.restarts,
            window_ends: now.plus_secs(self.window_secs(&intent.failure)),
            revert_at: intent.plan.ttl_secs.map(|ttl| now.plus_secs(ttl)),
            renewed_from: None,
            lever_since,
            verdict: None,
            settled: false,
            learned: None,
            earned: (0.0, 0),
            harmed: 0,
            intent: intent.clone(),
        };
        self.memory.in_effect.push(action);
        orders.push(Order::Act(Box::new(intent)));
    }
}

impl Actor {
    /// A lever of the plan that was taken back too recently, or that would stay set for too long.
    fn lever_that_waits(&self, plan: &Plan, question: &Question<'_>) -> Option<String> {
        let now = question.situation.at;
        let taken_back = plan.actions.iter().find_map(|action| {
            let wait = question.ledger.lever_wait_secs(action.set_lever()?, now);
            (wait > 0.0).then(|| format!("its lever cools down for {wait:.0} s more"))
        });
        taken_back.or_else(|| {
            let since = self.lever_since(&question.target.name, plan)?;
            let until = now.plus_secs(plan.ttl_secs.unwrap_or(0.0));
            (until.secs_since(since) > self.config.limits.longest_lever_secs).then(|| {
                let held = now.secs_since(since);
                format!("its lever has been set for {held:.0} s and must be taken back first")
            })
        })
    }

    /// Since when a lever of the plan is set by actions in effect.
    fn lever_since(&self, target: &str, plan: &Plan) -> Option<Time> {
        let set: BTreeSet<_> = plan.actions.iter().filter_map(Action::set_lever).collect();
        let in_force = self.memory.in_effect.iter().filter(|action| {
            let mut levers = action.intent.plan.actions.iter().filter_map(Action::set_lever);
            action.intent.target.as_ref() == target
                && action.revert_at.is_some()
                && levers.any(|lever| set.contains(lever))
        });
        in_force.map(|action| action.lever_since).min()
    }

    /// Earlier actions whose levers get new values do not revert them any more.
    fn supersede(&mut self, intent: &Intent) {
        let set: BTreeSet<_> = intent.plan.actions.iter().filter_map(Action::set_lever).collect();
        for action in &mut self.memory.in_effect {
            let revert = &action.intent.plan.revert;
            let is_replaced = action.intent.target == intent.target
                && !revert.is_empty()
                && revert
                    .iter()
                    .all(|action| action.reset_lever().is_some_and(|lever| set.contains(lever)));
            if is_replaced {
                action.revert_at = None;
            }
        }
    }

    /// A failure that has just begun may still lower goodput. The forecast is then limited to what doing
    /// nothing usually earns in this context, with the uncertainty of that.
    fn with_what_doing_nothing_earns(
        &self,
        trend: Expectation,
        reference: f64,
        intent: &Intent,
    ) -> Expectation {
        let prior = crate::learn::prior_of(&self.strategies, NOTHING, &intent.failure);
        let nothing = self.memory.learner.posterior(&intent.context, NOTHING, prior);
        Expectation {
            mean: trend.mean.min(nothing.mean.max(0.0) * reference),
            deviation: trend.deviation.hypot(nothing.of_one() * reference),
        }
    }
}

/// With the probability of the hold-out, doing nothing replaces the choice.
fn apply_hold_out(choice: &mut Choice, hold_out: f64, held_out: bool, nothing: &Arc<str>) {
    let mut propensities: BTreeMap<Arc<str>, f64> = choice
        .propensities
        .iter()
        .map(|(arm, p)| (Arc::clone(arm), p * (1.0 - hold_out)))
        .collect();
    *propensities.entry(Arc::clone(nothing)).or_default() += hold_out;
    choice.propensities = propensities;
    if held_out {
        choice.arm = Arc::clone(nothing);
    }
}

fn reason(failure: &Failure) -> String {
    let what = if failure.present {
        format!("{} is present", failure.kind)
    } else {
        let when = failure
            .secs_to_failure
            .map_or_else(String::new, |secs| format!(", in about {secs:.0} s"));
        format!(
            "{} is expected with probability {:.0} %{when}",
            failure.kind,
            failure.probability * 100.0
        )
    };
    let evidence: Vec<&str> = failure.evidence.iter().map(|e| e.text.as_ref()).collect();
    if evidence.is_empty() {
        what
    } else {
        format!("{what} ({})", evidence.join(", "))
    }
}
