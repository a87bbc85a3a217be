//! Counts flaps.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Limits;
use crate::{Order, Time};

/// Counts flaps in a sequence of orders. A flap is a lever that is set again within its cool-down
/// ([`Limits::cooldown_secs`]) after it was taken back on the same target. A renewal, which extends the time of a lever
/// before it ends, and a new value for a lever in effect are no flaps.
///
/// The cool-down of [`super::Ledger`] prevents flaps; this counts them from the orders alone, to check that.
#[derive(Debug, Clone, Default)]
pub struct Flaps {
    taken_back: BTreeMap<(Arc<str>, Cow<'static, str>), Time>,
    count: usize,
}

impl Flaps {
    /// Takes in one order, given at `at`.
    pub fn see(&mut self, order: &Order, at: Time, limits: &Limits) {
        let (target, actions) = match order {
            Order::Act(intent) => (&intent.target, &intent.plan.actions),
            Order::Renew { target, actions, .. } => (target, actions),
            Order::Revert { target, actions, .. } => {
                for lever in actions.iter().filter_map(crate::Action::reset_lever) {
                    self.taken_back.insert((Arc::clone(target), lever.clone()), at);
                }
                return;
            }
            _ => return,
        };
        for lever in actions.iter().filter_map(crate::Action::set_lever) {
            // Each lever set after it was taken back counts once.
            let before = self.taken_back.remove(&(Arc::clone(target), lever.clone()));
            let is_flap = before.is_some_and(|before| at.secs_since(before) < limits.cooldown_secs);
            self.count += usize::from(is_flap);
        }
    }

    /// Flaps so far.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Ticket};

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    fn set(lever: &'static str) -> Order {
        Order::Renew {
            ticket: Ticket(1),
            target: "t".into(),
            arm: "a".into(),
            actions: vec![Action::SetLever {
                lever: lever.into(),
                value: 1.0,
                ttl_secs: 60.0,
            }],
            fence: 1,
        }
    }

    fn reset(lever: &'static str) -> Order {
        Order::Revert {
            ticket: Ticket(1),
            target: "t".into(),
            arm: "a".into(),
            actions: vec![Action::ResetLever { lever: lever.into() }],
            why: "".into(),
            fence: 1,
        }
    }

    #[test]
    fn only_what_was_taken_back_within_the_cool_down_counts() {
        let (limits, mut flaps) = (Limits::default(), Flaps::default());
        for (secs, order, count) in [
            (0.0, set("l"), 0),
            (45.0, set("l"), 0),
            (100.0, reset("l"), 0),
            (100.0, set("other"), 0),
            (159.0, set("l"), 1),
            (170.0, set("l"), 1),
            (200.0, reset("l"), 1),
            (200.0, set("l"), 2),
            (300.0, reset("l"), 2),
            (360.0, set("l"), 2),
        ] {
            flaps.see(&order, at(secs), &limits);
            assert_eq!(flaps.count(), count, "at {secs} s");
        }
    }
}
