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
        let all = std::mem::take(&mut self.memory.standing);
        for mut standing in all {
            if standing.intent.target != situation.target {
                self.memory.standing.push(standing);
                continue;
            }
            self.settle_one(&mut standing, situation, leases, orders);
            if !standing.settled || standing.revert_at.is_some() {
                self.memory.standing.push(standing);
            }
        }
    }

    fn settle_one(
        &mut self,
        standing: &mut ActionInForce,
        situation: &Situation,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let now = situation.at;
        if situation.observed
            && !standing.settled
            && now <= standing.window_ends
            && let Some(goodput) = situation.signal(signal::GOODPUT)
        {
            standing.earned.0 += goodput.max(0.0);
            standing.earned.1 += 1;
        }
        if self.killed {
            self.finish(standing, unknown("the kill switch is on"), now, orders);
            self.take_back(standing, "the kill switch is on", now, leases, orders);
            return;
        }
        if situation.restarted && !standing.restarts {
            // The process that it acted on is gone, along with its levers.
            standing.revert_at = None;
            self.finish(
                standing,
                unknown("the server was restarted meanwhile"),
                now,
                orders,
            );
            return;
        }
        // Goodput may collapse after the promised signal has moved: it is watched until the window ends and while a
        // lever is set.
        let is_watched = !standing.settled || standing.revert_at.is_some();
        if is_watched && self.shows_harm(standing, situation) {
            let verdict = self.collapsed(standing, now);
            if standing.settled {
                let intent = &standing.intent;
                self.did_not_help(&intent.target, &intent.failure, &intent.arm);
                self.revise(standing, verdict, now, orders);
                self.take_back_early(standing, HARM, now, leases, orders);
            } else {
                self.judged(standing, verdict, now, leases, orders);
            }
        } else if standing.verdict.is_none() && now >= standing.intent.deadline {
            let verdict = self.judge(standing, situation);
            self.judged(standing, verdict, now, leases, orders);
        }
        if !standing.settled
            && now >= standing.window_ends
            && let Some(verdict) = standing.verdict.clone()
        {
            self.finish(standing, verdict, now, orders);
        }
        if standing.revert_at.is_some_and(|at| now >= at) {
            self.take_back(standing, "its time is over", now, leases, orders);
        } else {
            self.renew(standing, situation, leases, orders);
        }
    }

    /// Extends the time of levers that helped and are still needed.
    ///
    /// What justifies a renewal is weaker than what justifies setting a lever: not only the failure, but also demand
    /// that is not served. The lever itself ends the failure, which would return without it. The guardrails apply as
    /// for a new action.
    fn renew(
        &mut self,
        standing: &mut ActionInForce,
        situation: &Situation,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let (intent, now) = (&standing.intent, situation.at);
        let Some((ttl, at)) = intent.plan.ttl_secs.zip(standing.revert_at) else {
            return;
        };
        let sets_lever = |action: &&Action| action.set_lever().is_some();
        let actions: Vec<Action> = intent.plan.actions.iter().filter(sets_lever).cloned().collect();
        let helped = standing
            .verdict
            .as_ref()
            .is_some_and(|v| matches!(v.outcome, Outcome::Success | Outcome::PartialSuccess));
        let is_due = at.secs_since(now) <= RENEW_SHARE * ttl;
        let until = now.plus_secs(ttl);
        if actions.is_empty()
            || !helped
            || !is_due
            || !situation.observed
            || until.secs_since(standing.lever_since) > self.config.limits.longest_lever_secs
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
        standing.renewed_from = Some(at);
        standing.revert_at = Some(until);
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
        let standing = &mut self.memory.standing;
        if let Some(standing) = standing.iter_mut().find(|s| s.intent.ticket == ticket)
            && standing.revert_at.is_some()
            && let Some(before) = standing.renewed_from.take()
        {
            standing.revert_at = Some(before);
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
    /// charge of the target, and may have set the same lever.
    fn take_back(
        &mut self,
        standing: &mut ActionInForce,
        why: &'static str,
        now: Time,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let ended = standing.revert_at.take();
        let intent = &standing.intent;
        if intent.plan.revert.is_empty() {
            return;
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
                return;
            }
        };
        self.take_back_with(standing, why, now, fence, orders);
    }

    /// Orders an action to be reverted. The cool-down of its levers begins.
    fn take_back_with(
        &mut self,
        standing: &mut ActionInForce,
        why: &'static str,
        now: Time,
        fence: u64,
        orders: &mut Vec<Order>,
    ) {
        standing.revert_at = None;
        let intent = &standing.intent;
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
        standing: &mut ActionInForce,
        why: &'static str,
        now: Time,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        if !standing.intent.plan.revert.is_empty() {
            let tally = self.memory.tallies.entry(Arc::clone(&standing.intent.arm));
            tally.or_default().reverted += 1;
        }
        self.take_back(standing, why, now, leases, orders);
    }

    /// The verdict on an action during which goodput collapsed.
    fn collapsed(&self, standing: &ActionInForce, now: Time) -> Verdict {
        let effect = &standing.intent.plan.effect;
        let target = &standing.intent.target;
        // The deadline's longer window may still contain samples from before the collapse.
        let observed = self.recent_mean(target, signal::GOODPUT, now, HARM_AFTER_SECS / 2.0);
        Verdict {
            outcome: Outcome::MadeWorse,
            signal: effect.signal.clone(),
            expected_without: standing.expected.map(|expected| expected.mean),
            observed: self.recent_mean(target, &effect.signal, now, compare_secs(effect.within_secs)),
            goodput: standing.goodput.map(|expected| expected.mean).zip(observed),
            why: "goodput was far below the forecast for several samples".into(),
        }
    }

    /// Whether goodput has been far below the forecast for several samples.
    fn shows_harm(&self, standing: &mut ActionInForce, situation: &Situation) -> bool {
        let now = situation.at;
        let early = now.secs_since(standing.intent.at) < HARM_AFTER_SECS;
        let is_passive = standing.intent.plan.actions.is_empty();
        let goodput = self
            .recent_mean(
                &standing.intent.target,
                signal::GOODPUT,
                now,
                HARM_AFTER_SECS / 2.0,
            )
            .zip(standing.goodput);
        // A restart reduces goodput before it increases it.
        let harmed = situation.observed
            && !early
            && !is_passive
            && !standing.restarts
            && self
                .has_unserved_demand(situation, &standing.intent.failure)
                .unwrap_or(true)
            && goodput.is_some_and(|(observed, expected)| {
                let mut limits = self.config.limits.harm;
                limits.share *= 2.0;
                limits.is_harm(Compared { expected, observed })
            });
        standing.harmed = if harmed { standing.harmed + 1 } else { 0 };
        standing.harmed >= HARM_SAMPLES
    }

    fn recent_mean(&self, target: &str, name: &str, now: Time, secs: f64) -> Option<f64> {
        self.recents.get(target)?.signals.get(name)?.mean(now, secs)
    }

    fn judge(&self, standing: &ActionInForce, situation: &Situation) -> Verdict {
        let (intent, now) = (&standing.intent, situation.at);
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
        let signal = compared(&effect.signal, standing.expected);
        let goodput = compared(signal::GOODPUT, standing.goodput)
            .filter(|_| !standing.restarts)
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
        standing: &mut ActionInForce,
        verdict: Verdict,
        now: Time,
        leases: &mut dyn LeaseStore,
        orders: &mut Vec<Order>,
    ) {
        let target = Arc::clone(&standing.intent.target);
        let arm = Arc::clone(&standing.intent.arm);
        match verdict.outcome {
            Outcome::Success | Outcome::PartialSuccess => {
                if let Some(ledger) = self.memory.ledgers.get_mut(&target) {
                    ledger.progress(&arm, standing.revert_at);
                }
                standing.verdict = Some(verdict);
            }
            Outcome::Failure | Outcome::MadeWorse => {
                self.did_not_help(&target, &standing.intent.failure, &arm);
                let why = if verdict.outcome == Outcome::MadeWorse {
                    HARM
                } else {
                    "it had no effect"
                };
                self.finish(standing, verdict, now, orders);
                self.take_back_early(standing, why, now, leases, orders);
            }
            Outcome::NotApplicable => {
                self.finish(standing, verdict, now, orders);
                self.take_back_early(standing, "its effect cannot be observed", now, leases, orders);
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
    fn finish(&mut self, standing: &mut ActionInForce, verdict: Verdict, now: Time, orders: &mut Vec<Order>) {
        if standing.settled {
            return;
        }
        standing.settled = true;
        let intent = &standing.intent;
        let late = now.secs_since(standing.window_ends) > LATE_SECS;
        let level = self.recent_mean(&intent.target, signal::GOODPUT, now, HARM_AFTER_SECS);
        let reward = standing
            .reward(now, level)
            .filter(|_| verdict.outcome != Outcome::NotApplicable && !late);
        if self.config.learning {
            match reward {
                Some(reward) => {
                    standing.learned = Some(self.memory.learner.observe_revisable(
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
        standing.verdict = Some(verdict.clone());
        orders.push(Order::Settled(Settled {
            ticket: intent.ticket,
            target: Arc::clone(&intent.target),
            arm: Arc::clone(&intent.arm),
            failure: Arc::clone(&intent.failure),
            at: now,
            verdict,
            reward,
            held_out: intent.held_out,
            replaces: None,
        }));
    }

    /// Replaces the outcome of an action that did harm after it was settled: in its counts, and in what was learned. The
    /// reward falls to the goodput that it led to.
    fn revise(&mut self, standing: &mut ActionInForce, verdict: Verdict, now: Time, orders: &mut Vec<Order>) {
        let intent = &standing.intent;
        let Some(before) = standing.verdict.as_ref().map(|verdict| verdict.outcome) else {
            return;
        };
        let level = self.recent_mean(&intent.target, signal::GOODPUT, now, HARM_AFTER_SECS);
        let mut reward = None;
        if let Some((learned, kept)) = standing.learned.zip(level.and_then(|level| standing.kept(level))) {
            let revised = kept.min(learned.reward);
            self.memory
                .learner
                .revise(&intent.context, &intent.arm, learned, revised, verdict.outcome);
            reward = Some(revised);
        }
        let tally = self.memory.tallies.entry(Arc::clone(&intent.arm));
        tally.or_default().recount(before, verdict.outcome);
        standing.learned = None;
        standing.verdict = Some(verdict.clone());
        orders.push(Order::Settled(Settled {
            ticket: intent.ticket,
            target: Arc::clone(&intent.target),
            arm: Arc::clone(&intent.arm),
            failure: Arc::clone(&intent.failure),
            at: now,
            verdict,
            reward,
            held_out: intent.held_out,
            replaces: Some(before),
        }));
    }

    /// Handles an action that could not be executed.
    pub(super) fn could_not(&mut self, ticket: Ticket, error: &str, now: Time) -> Vec<Order> {
        let mut orders = Vec::new();
        let Some(place) = self
            .memory
            .standing
            .iter()
            .position(|s| s.intent.ticket == ticket)
        else {
            return orders;
        };
        let mut standing = self.memory.standing.remove(place);
        let (target, failure) = (
            Arc::clone(&standing.intent.target),
            Arc::clone(&standing.intent.failure),
        );
        let arm = Arc::clone(&standing.intent.arm);
        self.did_not_help(&target, &failure, &arm);
        let verdict = unknown(format!("it could not be carried out: {error}"));
        self.finish(&mut standing, verdict, now, &mut orders);
        // Some of its operations may have been executed, under this lease and just now.
        let fence = standing.intent.fence;
        self.take_back_with(
            &mut standing,
            "it could not be carried out in full",
            now,
            fence,
            &mut orders,
        );
        orders
    }
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
