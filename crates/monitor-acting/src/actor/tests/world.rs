//! A server modelled by a few numbers.

use std::borrow::Cow;

use crate::{Action, Evidence, EvidenceKind, Failure, Order, Situation, Time, signal};

/// A server whose preemptions a lever may stop, at the cost of goodput.
#[derive(Clone)]
pub(super) struct World {
    pub(super) at: f64,
    pub(super) lever: Option<f64>,
    /// When the lever was set.
    pub(super) set_at: f64,
    /// Effect of the lever on preemptions and on goodput.
    pub(super) effect: (f64, f64),
    /// Seconds until the lever affects goodput.
    pub(super) goodput_lag: f64,
    pub(super) failing: bool,
    /// Requests in the queue.
    pub(super) waiting: f64,
    /// No requests come.
    pub(super) idle: bool,
    pub(super) observed: bool,
    pub(super) kinds: Vec<EvidenceKind>,
}

impl World {
    pub(super) fn new(effect: (f64, f64)) -> Self {
        Self {
            at: 1000.0,
            lever: None,
            set_at: 0.0,
            effect,
            goodput_lag: 0.0,
            failing: false,
            waiting: 10.0,
            idle: false,
            observed: true,
            kinds: vec![EvidenceKind::KvCache, EvidenceKind::Queue],
        }
    }

    pub(super) fn situation(&self, target: &str) -> Situation {
        let noise = if (self.at as i64) % 2 == 0 { 1.0 } else { -1.0 };
        let (mut preemptions, mut goodput) = if self.idle {
            (0.0, 0.0)
        } else if self.failing {
            (10.0, 600.0)
        } else {
            (0.0, 1000.0)
        };
        if self.lever.is_some() {
            preemptions *= self.effect.0;
            if self.at - self.set_at >= self.goodput_lag {
                goodput *= self.effect.1;
            }
        }
        Situation {
            target: target.into(),
            at: Time::from_secs_f64(self.at),
            observed: self.observed,
            failures: (self.failing && !self.idle)
                .then(|| Failure {
                    kind: "kv_preemption".into(),
                    present: true,
                    probability: 1.0,
                    secs_to_failure: Some(0.0),
                    evidence: self
                        .kinds
                        .iter()
                        .map(|kind| Evidence::new(*kind, "seen"))
                        .collect(),
                })
                .into_iter()
                .collect(),
            signals: [
                (signal::PREEMPTIONS, preemptions + 0.2 * noise),
                (signal::GOODPUT, goodput + 10.0 * noise),
                (signal::RUNNING, if self.idle { 0.0 } else { 40.0 }),
                (signal::WAITING, if self.idle { 0.0 } else { self.waiting }),
                (signal::KV_USAGE, 0.95),
                (signal::SERVING, 1.0),
            ]
            .map(|(name, value)| (Cow::Borrowed(name), value))
            .into(),
            restarted: false,
            vetoes: std::collections::BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, orders: &[Order]) {
        for order in orders {
            let actions = match order {
                Order::Act(intent) => &intent.plan.actions,
                Order::Revert { actions, .. } | Order::Renew { actions, .. } => actions,
                _ => continue,
            };
            for action in actions {
                match action {
                    Action::SetLever { value, .. } => {
                        if self.lever.is_none() {
                            self.set_at = self.at;
                        }
                        self.lever = Some(*value);
                    }
                    Action::ResetLever { .. } => self.lever = None,
                    _ => {}
                }
            }
        }
    }
}
