//! History of one target: cool-downs, budgets, restart intervals.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Limits;
use crate::Time;

const HOUR_SECS: f64 = 3600.0;

/// Cool-down of one arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pacing {
    /// Earliest next use.
    pub until: Time,
    /// Last use.
    pub used: Time,
    /// Consecutive uses, each within an hour of the previous one.
    pub in_a_row: u32,
}

/// History of one target. Survives restarts of the monitor and of the server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ledger {
    arms: BTreeMap<Arc<str>, Pacing>,
    /// Until when levers that were taken back are not set again.
    #[serde(default)]
    levers: BTreeMap<Arc<str>, Time>,
    actions: VecDeque<Time>,
    /// Actions since the last progress, or since an hour without an action.
    fruitless: usize,
    restarts: u32,
    last_restart: Option<Time>,
    /// Start of uninterrupted service.
    serving_since: Option<Time>,
}

impl Ledger {
    /// Seconds until an arm may be used again.
    pub fn cooldown_secs(&self, arm: &str, now: Time) -> f64 {
        self.arms
            .get(arm)
            .map_or(0.0, |pacing| pacing.until.secs_since(now))
    }

    /// Seconds until a lever may be set again.
    pub fn lever_wait_secs(&self, lever: &str, now: Time) -> f64 {
        self.levers.get(lever).map_or(0.0, |until| until.secs_since(now))
    }

    /// Records that a lever was taken back: its cool-down begins.
    pub fn taken_back(&mut self, lever: &str, now: Time, limits: &Limits) {
        self.levers.retain(|_, until| *until > now);
        self.levers
            .insert(lever.into(), now.plus_secs(limits.cooldown_secs));
    }

    /// Seconds until the next restart is permitted.
    pub fn restart_wait_secs(&self, now: Time, limits: &Limits) -> f64 {
        let Some(last) = self.last_restart else { return 0.0 };
        let pause = (limits.restart_pause_secs * 2f64.powi(self.restarts.saturating_sub(1).min(20) as i32))
            .min(limits.longest_restart_pause_secs);
        (pause - now.secs_since(last)).max(0.0)
    }

    /// Why the budget is exhausted, if it is.
    pub fn exhausted(&mut self, now: Time, limits: &Limits) -> Option<String> {
        while self
            .actions
            .front()
            .is_some_and(|at| now.secs_since(*at) > HOUR_SECS)
        {
            self.actions.pop_front();
        }
        if self.actions.is_empty() {
            self.fruitless = 0;
        }
        if self.fruitless >= limits.without_progress {
            return Some(format!("{} actions brought no progress", self.fruitless));
        }
        if self.actions.len() >= limits.per_hour {
            return Some(format!("{} actions within an hour", self.actions.len()));
        }
        None
    }

    /// Records an action. `jitter` is a random number from 0 to 1.
    pub fn note(&mut self, arm: &Arc<str>, restarts: bool, now: Time, jitter: f64, limits: &Limits) {
        let before = self
            .arms
            .get(arm)
            .filter(|pacing| now.secs_since(pacing.used) < HOUR_SECS);
        let in_a_row = before.map_or(0, |pacing| pacing.in_a_row) + 1;
        let secs = (limits.cooldown_secs * 2f64.powi((in_a_row - 1).min(20) as i32))
            .min(limits.longest_cooldown_secs);
        let pacing = Pacing {
            until: now.plus_secs(secs * (1.0 + limits.jitter * jitter)),
            used: now,
            in_a_row,
        };
        self.arms.insert(Arc::clone(arm), pacing);
        self.actions.push_back(now);
        self.fruitless += 1;
        if restarts {
            self.restarts += 1;
            self.last_restart = Some(now);
            self.serving_since = None;
        }
    }

    /// An action had its promised effect. If the failure is still there at `lever_ends`, the arm may set its lever to
    /// another value, and its cool-down does not double.
    pub fn progress(&mut self, arm: &str, lever_ends: Option<Time>) {
        self.fruitless = 0;
        if let Some(pacing) = self.arms.get_mut(arm) {
            pacing.in_a_row = 0;
            pacing.until = lever_ends.unwrap_or(pacing.until);
        }
    }

    /// Records whether the target serves. Uninterrupted service for long enough resets the counter of
    /// restarts.
    pub fn serving(&mut self, serves: bool, now: Time, limits: &Limits) {
        if !serves {
            self.serving_since = None;
            return;
        }
        let since = *self.serving_since.get_or_insert(now);
        if now.secs_since(since) >= limits.healthy_secs {
            self.restarts = 0;
        }
    }

    /// After loading: limits every wait to its maximum, in case the clock changed.
    pub(crate) fn sanitize(&mut self, now: Time, limits: &Limits) {
        let latest = now.plus_secs(limits.longest_cooldown_secs * (1.0 + limits.jitter));
        for pacing in self.arms.values_mut() {
            pacing.until = pacing.until.min(latest);
            pacing.used = pacing.used.min(now);
        }
        for until in self.levers.values_mut() {
            *until = (*until).min(now.plus_secs(limits.cooldown_secs));
        }
        for at in &mut self.actions {
            *at = (*at).min(now);
        }
        self.last_restart = self.last_restart.map(|at| at.min(now));
        self.serving_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    #[test]
    fn cool_downs_double_and_are_bounded() {
        let (mut ledger, limits) = (Ledger::default(), Limits::default());
        let arm: Arc<str> = "a".into();
        let mut now = 0.0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            ledger.note(&arm, false, at(now), 0.0, &limits);
            let wait = ledger.cooldown_secs("a", at(now));
            waits.push(wait);
            now += wait;
            assert_eq!(ledger.cooldown_secs("a", at(now)), 0.0);
        }
        assert_eq!(waits, [60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0, 900.0]);
        ledger.note(&arm, false, at(now + 3601.0), 1.0, &limits);
        let wait = ledger.cooldown_secs("a", at(now + 3601.0));
        assert_eq!(wait, 72.0, "an hour of rest starts over, with full jitter");
    }

    #[test]
    fn what_helped_may_be_used_again_when_its_first_time_is_over() {
        let (mut ledger, limits) = (Ledger::default(), Limits::default());
        let arm: Arc<str> = "a".into();
        for used in [0.0, 60.0, 120.0] {
            ledger.note(&arm, false, at(used), 1.0, &limits);
            assert_eq!(ledger.cooldown_secs("a", at(used)), 72.0);
            ledger.progress("a", Some(at(used + 60.0)));
            assert_eq!(ledger.cooldown_secs("a", at(used + 60.0)), 0.0);
        }
        // An action without a lever keeps its cool-down.
        ledger.note(&arm, false, at(180.0), 0.0, &limits);
        ledger.progress("a", None);
        assert_eq!(ledger.cooldown_secs("a", at(180.0)), 60.0);
    }

    #[test]
    fn budgets_end_and_progress_renews_one_of_them() {
        let (mut ledger, limits) = (Ledger::default(), Limits::default());
        for i in 0..3 {
            assert_eq!(ledger.exhausted(at(f64::from(i)), &limits), None);
            // Renaming the arm does not give another budget.
            ledger.note(&format!("arm{i}").into(), false, at(f64::from(i)), 0.0, &limits);
        }
        assert!(ledger.exhausted(at(3.0), &limits).is_some());
        ledger.progress("arm2", None);
        assert_eq!(ledger.exhausted(at(3.0), &limits), None);
        for i in 3..12 {
            ledger.note(&format!("arm{i}").into(), false, at(f64::from(i)), 0.0, &limits);
            ledger.progress("arm2", None);
        }
        assert!(
            ledger
                .exhausted(at(20.0), &limits)
                .is_some_and(|why| why.contains("hour"))
        );
        assert_eq!(ledger.exhausted(at(3700.0), &limits), None);
    }

    #[test]
    fn service_is_no_progress() {
        let (mut ledger, limits) = (Ledger::default(), Limits::default());
        for second in 0..=2000 {
            let now = at(f64::from(second));
            ledger.serving(true, now, &limits);
            if second >= 700 && second % 400 == 0 {
                ledger.note(&"a".into(), false, now, 0.0, &limits);
            }
        }
        // Four actions from 800 to 2000 s while it served.
        let why = ledger
            .exhausted(at(2000.0), &limits)
            .expect("an operator is needed");
        assert!(why.contains("no progress"), "{why}");
        assert_eq!(
            ledger.exhausted(at(5601.0), &limits),
            None,
            "after an hour without an action"
        );
    }

    #[test]
    fn restarts_slow_down_until_the_server_is_healthy() {
        let (mut ledger, limits) = (Ledger::default(), Limits::default());
        let arm: Arc<str> = "restart".into();
        let mut now = 0.0;
        let mut waits = Vec::new();
        for _ in 0..7 {
            ledger.note(&arm, true, at(now), 0.0, &limits);
            waits.push(ledger.restart_wait_secs(at(now), &limits));
            now += 1000.0;
        }
        assert_eq!(waits, [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]);
        for second in 0..=600 {
            ledger.serving(true, at(now + f64::from(second)), &limits);
        }
        ledger.note(&arm, true, at(now + 601.0), 0.0, &limits);
        assert_eq!(ledger.restart_wait_secs(at(now + 601.0), &limits), 10.0);
    }

    #[test]
    fn a_clock_that_jumped_back_does_not_block_for_ever() {
        let (mut ledger, limits) = (Ledger::default(), Limits::default());
        ledger.note(&"a".into(), true, at(1e6), 0.0, &limits);
        ledger.sanitize(at(0.0), &limits);
        assert!(ledger.cooldown_secs("a", at(0.0)) <= 1080.0);
        assert!(ledger.restart_wait_secs(at(10.0), &limits) <= 10.0);
    }
}
