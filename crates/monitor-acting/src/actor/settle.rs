//! Actions in effect: judged at their deadline, reverted, and their reward passed to the learner.

use std::borrow::Cow;
use std::sync::Arc;

use super::{ActionInForce, Actor};
use crate::guard::LeaseStore;
use crate::verify::{Compared, Outcome, Verdict, judge};
use crate::{Action, Intent, Order, Settled, Situation, Ticket, Time, signal};

/// Signals are compared as means over at most this many seconds.
pub(super) const COMPARE_SECS: f64 = 10.0;
/// Seconds after an action before harm is visible.
const HARM_AFTER_SECS: f64 = 5.0;
/// Consecutive samples that must show harm before the deadline.
const HARM_SAMPLES: u32 = 3;
/// Seconds over which unserved demand is looked for: about as long as it takes to see harm.
const DEMAND_SECS: f64 = HARM_AFTER_SECS / 2.0;
/// Waiting requests, on average, up to which demand counts as served: a request may wait for the next step.
const WAITING_SERVED: f64 = 1.0;
/// Why an action that did harm is taken back.
const HARM: &str = "it did harm";
/// Share of its time, before its end, in which a lever is renewed.
const RENEW_SHARE: f64 = 0.25;
/// Seconds after the window's end within which a reward still counts as complete.
const LATE_SECS: f64 = 30.0;

/// Seconds over which a signal is compared at its deadline.
pub(super) fn compare_secs(within_secs: f64) -> f64 {
    COMPARE_SECS.min(within_secs / 2.0)
}

impl Actor {
    /// Updates the actions in effect on the situation's target.
    pub(super) fn settle(
        &mut self,
        situation: &Situation,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let all = std::mem::take(&mut self.memory.in_effect);
        for mut action in all {
            if action.intent.target != situation.target {
                self.memory.in_effect.push(action);
                continue;
            }
            self.settle_one(&mut action, situation, leases, orders);
            if !action.settled || action.revert_at.is_some() {
                self.memory.in_effect.push(action);
            }
        }
    }

    fn settle_one(
        &mut self,
        action: &mut ActionInForce,
        situation: &Situation,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let now = situation.at;
        if situation.observed
            && !action.settled
            && now <= action.window_ends
            && let Some(goodput) = situation.signal(signal::GOODPUT)
        {
            action.earned.0 += goodput.max(0.0);
            action.earned.1 += 1;
        }
        if self.killed {
            self.finish(action, unknown("the kill switch is on"), now, orders);
            self.take_back(action, "the kill switch is on", now, leases, orders);
            return;
        }
        if situation.restarted && !action.restarts {
            // The process that it acted on is gone, along with its levers.
            action.revert_at = None;
            self.finish(action, unknown("the server was restarted meanwhile"), now, orders);
            return;
        }
        // Goodput may collapse after the promised signal has moved: it is watched until the window ends and while a
        // lever is set.
        let is_watched = !action.settled || action.revert_at.is_some();
        if is_watched && self.shows_harm(action, situation) {
            let verdict = self.collapsed(action, now);
            if action.settled {
                let intent = &action.intent;
                self.did_not_help(&intent.target, &intent.failure, &intent.arm);
                self.revise(action, verdict, now, orders);
                self.take_back_early(action, HARM, now, leases, orders);
            } else {
                self.judged(action, verdict, now, leases, orders);
            }
        } else if action.verdict.is_none() && now >= action.intent.deadline {
            let verdict = self.judge(action, situation);
            self.judged(action, verdict, now, leases, orders);
        }
        if !action.settled
            && now >= action.window_ends
            && let Some(verdict) = action.verdict.clone()
        {
            self.finish(action, verdict, now, orders);
        }
        if action.revert_at.is_some_and(|at| now >= at) {
            self.take_back(action, "its time is over", now, leases, orders);
        } else {
            self.renew(action, situation, leases, orders);
        }
    }

    /// Extends the time of levers that helped and are still needed.
    ///
    /// What justifies a renewal is weaker than what justifies setting a lever: not only the failure, but also demand
    /// that is not served. The lever itself ends the failure, which would return without it. The guardrails apply as
    /// for a new action.
    fn renew(
        &mut self,
        action: &mut ActionInForce,
        situation: &Situation,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let (intent, now) = (&action.intent, situation.at);
        let Some((ttl, at)) = intent.plan.ttl_secs.zip(action.revert_at) else {
            return;
        };
        let sets_lever = |action: &&Action| action.set_lever().is_some();
        let actions: Vec<Action> = intent.plan.actions.iter().filter(sets_lever).cloned().collect();
        let helped = action
            .verdict
            .as_ref()
            .is_some_and(|v| matches!(v.outcome, Outcome::Success | Outcome::PartialSuccess));
        let is_due = at.secs_since(now) <= RENEW_SHARE * ttl;
        let until = now.plus_secs(ttl);
        if actions.is_empty()
            || !helped
            || !is_due
            || !situation.observed
            || until.secs_since(action.lever_since) > self.config.limits.longest_lever_secs
            || !self
                .has_unserved_demand(situation, &intent.failure)
                .unwrap_or(false)
            || !self.permits_renewal(&intent.arm, situation)
            || !self.keeps_lease(intent, now, leases)
        {
            return;
        }
        self.memory.fleet.note(&intent.target, now);
        orders.push(Order::Renew {
            ticket: intent.ticket,
            target: Arc::clone(&intent.target),
            arm: Arc::clone(&intent.arm),
            actions,
            fence: intent.fence,
        });
        action.renewed_from = Some(at);
        action.revert_at = Some(until);
    }

    fn permits_renewal(&self, arm: &str, situation: &Situation) -> bool {
        self.acts().is_ok()
            && self.config.limits.allow.contains(arm)
            && !situation.vetoes.contains_key(arm)
            && self
                .targets
                .get(&situation.target)
                .is_some_and(|target| !target.excluded)
    }

    /// Extends the lease under which the action was decided. A lease with another fence is a new one: another monitor
    /// may have acted meanwhile.
    fn keeps_lease(&self, intent: &Intent, now: Time, leases: &mut dyn LeaseStore) -> bool {
        let secs = self.config.limits.lease_secs;
        let lease = leases.acquire(&intent.target, &self.config.holder, now, secs);
        lease.is_ok_and(|lease| lease.is_some_and(|lease| lease.fence == intent.fence))
    }

    /// Processes a renewal that could not be executed: the lever ends when it would have ended without it.
    pub fn not_renewed(&mut self, ticket: Ticket) {
        let in_effect = &mut self.memory.in_effect;
        if let Some(action) = in_effect.iter_mut().find(|s| s.intent.ticket == ticket)
            && action.revert_at.is_some()
            && let Some(before) = action.renewed_from.take()
        {
            action.revert_at = Some(before);
        }
    }

    /// Whether the failure is there, or requests were refused or waited during the last seconds. Otherwise low goodput
    /// means low demand. `None` if that cannot be known.
    fn has_unserved_demand(&self, situation: &Situation, failure: &str) -> Option<bool> {
        let target = &situation.target;
        if self.failing_since(target, failure).is_some() {
            return Some(true);
        }
        let above = |name: &str, served: f64| {
            let mean = self.recent_mean(target, name, situation.at, DEMAND_SECS)?;
            Some(mean > served)
        };
        let found = [
            above(signal::REJECTIONS, 0.0),
            above(signal::WAITING, WAITING_SERVED),
        ];
        found.into_iter().flatten().reduce(|a, b| a || b)
    }

    /// Orders an action to be reverted, under the lease that is held now. If another monitor holds it, that one is in
    /// charge of the target, and may have set the same lever. Returns whether it was ordered.
    fn take_back(
        &mut self,
        action: &mut ActionInForce,
        why: &'static str,
        now: Time,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) -> bool {
        let ended = action.revert_at.take();
        let intent = &action.intent;
        if intent.plan.revert.is_empty() {
            return false;
        }
        let secs = self.config.limits.lease_secs;
        let fence = match leases.acquire(&intent.target, &self.config.holder, now, secs) {
            Ok(Some(lease)) => lease.fence,
            // While the leases cannot be read, no other monitor acts either.
            Err(_) => intent.fence,
            Ok(None) => {
                if ended.is_some() {
                    orders.push(Order::NotReverted {
                        ticket: intent.ticket,
                        target: Arc::clone(&intent.target),
                        arm: Arc::clone(&intent.arm),
                        why: Cow::Borrowed(why),
                    });
                }
                return false;
            }
        };
        self.take_back_with(action, why, now, fence, orders);
        true
    }

    /// Orders an action to be reverted. The cool-down of its levers begins.
    fn take_back_with(
        &mut self,
        action: &mut ActionInForce,
        why: &'static str,
        now: Time,
        fence: u64,
        orders: &mut Vec<Order>,
    ) {
        action.revert_at = None;
        let intent = &action.intent;
        if intent.plan.revert.is_empty() {
            return;
        }
        let ledger = self.memory.ledgers.entry(Arc::clone(&intent.target)).or_default();
        for lever in intent.plan.revert.iter().filter_map(Action::reset_lever) {
            ledger.taken_back(lever, now, &self.config.limits);
        }
        orders.push(Order::Revert {
            ticket: intent.ticket,
            target: Arc::clone(&intent.target),
            arm: Arc::clone(&intent.arm),
            actions: intent.plan.revert.clone(),
            why: Cow::Borrowed(why),
            fence,
        });
    }

    fn take_back_early(
        &mut self,
        action: &mut ActionInForce,
        why: &'static str,
        now: Time,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        if self.take_back(action, why, now, leases, orders) {
            let tally = self.memory.tallies.entry(Arc::clone(&action.intent.arm));
            tally.or_default().reverted += 1;
        }
    }

    /// The verdict on an action during which goodput collapsed.
    fn collapsed(&self, action: &ActionInForce, now: Time) -> Verdict {
        let effect = &action.intent.plan.effect;
        let target = &action.intent.target;
        // The deadline's longer window may still contain samples from before the collapse.
        let observed = self.recent_mean(target, signal::GOODPUT, now, HARM_AFTER_SECS / 2.0);
        Verdict {
            outcome: Outcome::MadeWorse,
            signal: effect.signal.clone(),
            expected_without: action.expected.map(|expected| expected.mean),
            observed: self.recent_mean(target, &effect.signal, now, compare_secs(effect.within_secs)),
            goodput: action.goodput.map(|expected| expected.mean).zip(observed),
            why: "goodput was far below the forecast for several samples".into(),
        }
    }

    /// Whether goodput has been far below the forecast for several samples.
    fn shows_harm(&self, action: &mut ActionInForce, situation: &Situation) -> bool {
        let now = situation.at;
        let early = now.secs_since(action.intent.at) < HARM_AFTER_SECS;
        let is_passive = action.intent.plan.actions.is_empty();
        let goodput = self
            .recent_mean(&action.intent.target, signal::GOODPUT, now, HARM_AFTER_SECS / 2.0)
            .zip(action.goodput);
        // A restart reduces goodput before it increases it.
        let harmed = situation.observed
            && !early
            && !is_passive
            && !action.restarts
            && self
                .has_unserved_demand(situation, &action.intent.failure)
                .unwrap_or(true)
            && goodput.is_some_and(|(observed, expected)| {
                let mut limits = self.config.limits.harm;
                limits.share *= 2.0;
                limits.is_harm(Compared { expected, observed })
            });
        action.harmed = if harmed { action.harmed + 1 } else { 0 };
        action.harmed >= HARM_SAMPLES
    }

    fn recent_mean(&self, target: &str, name: &str, now: Time, secs: f64) -> Option<f64> {
        self.recents.get(target)?.signals.get(name)?.mean(now, secs)
    }

    fn judge(&self, action: &ActionInForce, situation: &Situation) -> Verdict {
        let (intent, now) = (&action.intent, situation.at);
        if !situation.observed {
            return unknown("the target cannot be observed");
        }
        if now.secs_since(intent.deadline) > LATE_SECS {
            return unknown("its deadline passed unobserved");
        }
        let effect = &intent.plan.effect;
        let secs = compare_secs(effect.within_secs);
        let compared = |name: &str, expected: Option<crate::forecast::Expectation>| {
            let observed = self.recent_mean(&intent.target, name, now, secs)?;
            Some(Compared {
                expected: expected?,
                observed,
            })
        };
        let signal = compared(&effect.signal, action.expected);
        let goodput = compared(signal::GOODPUT, action.goodput)
            .filter(|_| !action.restarts)
            .filter(|_| {
                self.has_unserved_demand(situation, &intent.failure)
                    .unwrap_or(true)
            });
        let gone = !situation.failures.iter().any(|f| f.kind == intent.failure);
        if intent.plan.actions.is_empty() {
            // Doing nothing cannot cause harm; it helps if the failure ends by itself.
            return judge(effect, signal, None, gone, &self.config.limits.harm);
        }
        judge(effect, signal, goodput, gone, &self.config.limits.harm)
    }

    fn judged(
        &mut self,
        action: &mut ActionInForce,
        verdict: Verdict,
        now: Time,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let target = Arc::clone(&action.intent.target);
        let arm = Arc::clone(&action.intent.arm);
        match verdict.outcome {
            Outcome::Success | Outcome::PartialSuccess => {
                if let Some(ledger) = self.memory.ledgers.get_mut(&target) {
                    ledger.progress(&arm, action.revert_at);
                }
                action.verdict = Some(verdict);
            }
            Outcome::Failure | Outcome::MadeWorse => {
                self.did_not_help(&target, &action.intent.failure, &arm);
                let why = if verdict.outcome == Outcome::MadeWorse {
                    HARM
                } else {
                    "it had no effect"
                };
                self.finish(action, verdict, now, orders);
                self.take_back_early(action, why, now, leases, orders);
            }
            Outcome::NotApplicable => {
                self.finish(action, verdict, now, orders);
                self.take_back_early(action, "its effect cannot be observed", now, leases, orders);
            }
        }
    }

    fn did_not_help(&mut self, target: &str, failure: &str, arm: &Arc<str>) {
        if arm.as_ref() == crate::arm::NOTHING {
            return;
        }
        if let Some(episode) = self
            .recents
            .get_mut(target)
            .and_then(|recents| recents.episode.as_mut())
            .filter(|episode| episode.failure.as_ref() == failure)
        {
            episode.failed.insert(Arc::clone(arm));
        }
    }

    /// Finishes the judgement of an action: counts it and updates the learner.
    fn finish(&mut self, action: &mut ActionInForce, verdict: Verdict, now: Time, orders: &mut Vec<Order>) {
        if action.settled {
            return;
        }
        action.settled = true;
        let intent = &action.intent;
        let late = now.secs_since(action.window_ends) > LATE_SECS;
        let level = self.recent_mean(&intent.target, signal::GOODPUT, now, HARM_AFTER_SECS);
        let reward = action
            .reward(now, level)
            .filter(|_| verdict.outcome != Outcome::NotApplicable && !late);
        if self.config.learning {
            match reward {
                Some(reward) => {
                    action.learned = Some(self.memory.learner.observe_revisable(
                        &intent.context,
                        &intent.arm,
                        reward,
                        verdict.outcome,
                    ));
                }
                None => self.memory.learner.censor(&intent.arm),
            }
        }
        self.memory
            .tallies
            .entry(Arc::clone(&intent.arm))
            .or_default()
            .count(verdict.outcome);
        action.verdict = Some(verdict.clone());
        orders.push(settled(&action.intent, now, verdict, reward, None));
    }

    /// Replaces the outcome of an action that did harm after it was settled: in its counts, and in what was learned. The
    /// reward falls to the goodput that it led to.
    fn revise(&mut self, action: &mut ActionInForce, verdict: Verdict, now: Time, orders: &mut Vec<Order>) {
        let intent = &action.intent;
        let Some(before) = action.verdict.as_ref().map(|verdict| verdict.outcome) else {
            return;
        };
        let level = self.recent_mean(&intent.target, signal::GOODPUT, now, HARM_AFTER_SECS);
        let mut reward = None;
        if let Some((learned, kept)) = action.learned.zip(level.and_then(|level| action.kept(level))) {
            let revised = kept.min(learned.reward);
            self.memory
                .learner
                .revise(&intent.context, &intent.arm, learned, revised, verdict.outcome);
            reward = Some(revised);
        }
        let tally = self.memory.tallies.entry(Arc::clone(&intent.arm));
        tally.or_default().recount(before, verdict.outcome);
        action.learned = None;
        action.verdict = Some(verdict.clone());
        orders.push(settled(&action.intent, now, verdict, reward, Some(before)));
    }

    /// Handles an action that could not be executed.
    pub(super) fn could_not(&mut self, ticket: Ticket, error: &str, now: Time) -> Vec<Order> {
        let mut orders = Vec::new();
        let Some(place) = self
            .memory
            .in_effect
            .iter()
            .position(|s| s.intent.ticket == ticket)
        else {
            return orders;
        };
        let mut action = self.memory.in_effect.remove(place);
        let (target, failure) = (
            Arc::clone(&action.intent.target),
            Arc::clone(&action.intent.failure),
        );
        let arm = Arc::clone(&action.intent.arm);
        self.did_not_help(&target, &failure, &arm);
        let verdict = unknown(format!("it could not be carried out: {error}"));
        self.finish(&mut action, verdict, now, &mut orders);
        // Some of its operations may have been executed, under this lease and just now.
        let fence = action.intent.fence;
        self.take_back_with(
            &mut action,
            "it could not be carried out in full",
            now,
            fence,
            &mut orders,
        );
        orders
    }
}

fn settled(
    intent: &Intent,
    at: Time,
    verdict: Verdict,
    reward: Option<f64>,
    replaces: Option<Outcome>,
) -> Order {
    Order::Settled(Settled {
        ticket: intent.ticket,
        target: Arc::clone(&intent.target),
        arm: Arc::clone(&intent.arm),
        failure: Arc::clone(&intent.failure),
        at,
        verdict,
        reward,
        held_out: intent.held_out,
        replaces,
    })
}

fn unknown(why: impl Into<Cow<'static, str>>) -> Verdict {
    Verdict {
        outcome: Outcome::NotApplicable,
        signal: Cow::Borrowed(""),
        expected_without: None,
        observed: None,
        goodput: None,
        why: why.into(),
    }
}
