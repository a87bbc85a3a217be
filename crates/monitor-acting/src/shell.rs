//! Executes orders in the right sequence: audit, action, report.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::actuate::Actuators;
use crate::audit::{Audit, Record};
use crate::{Actor, Order, Time};

/// The core with its audit. It is locked only to decide, to record and to report, never while an action is under
/// way.
#[derive(Debug)]
pub struct AuditedActor {
    /// The core.
    pub actor: Actor,
    /// The audit. Without one nothing is carried out.
    pub audit: Option<Audit>,
}

impl AuditedActor {
    /// Writes an entry to the audit.
    ///
    /// # Errors
    /// Why it is not on disk.
    pub fn record(&mut self, at: Time, record: &Record) -> Result<(), String> {
        match &mut self.audit {
            Some(audit) => audit.append(at, record).map_err(|e| e.to_string()),
            None => Err("no audit is open".to_owned()),
        }
    }
}

/// Locks the actor with its audit. A panic while it was locked leaves it usable: its parts are consistent between calls.
pub fn lock(audited: &Mutex<AuditedActor>) -> MutexGuard<'_, AuditedActor> {
    audited.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of executing orders.
#[derive(Debug, Default)]
pub struct Done {
    /// The executed orders, including those that followed from failures.
    pub orders: Vec<Order>,
    /// The renewals among them, with their results.
    pub renewals: Vec<Renewal>,
    /// Failed actions, reverts and audit writes. Show them to the operator: if the audit cannot be written,
    /// no further action is taken.
    pub problems: Vec<String>,
}

/// The result of a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The target.
    pub target: Arc<str>,
    /// The arm.
    pub arm: Arc<str>,
    /// Why it failed: the levers end when they would have ended without it.
    pub error: Option<String>,
}

/// Writes each intent and renewal to the audit, executes it, reports and records the result.
///
/// What cannot be written is not executed; only reverts are, in any case. `now` gives the time of each entry.
pub async fn carry_out(
    orders: Vec<Order>,
    audited: &Mutex<AuditedActor>,
    actuators: &Actuators,
    now: impl Fn() -> Time,
) -> Done {
    let mut open: VecDeque<Order> = orders.into();
    let mut done = Done::default();
    while let Some(order) = open.pop_front() {
        match &order {
            Order::Act(intent) => {
                let recorded = lock(audited).record(now(), &Record::Intent(intent.clone()));
                let result = match recorded {
                    Err(e) => Err(format!(
                        "it was not carried out, as the audit cannot be written: {e}"
                    )),
                    Ok(()) => {
                        let result = actuators
                            .carry_out(&intent.target, &intent.arm, &intent.plan.actions, intent.fence)
                            .await;
                        let record = Record::Executed {
                            ticket: intent.ticket,
                            error: result.clone().err(),
                        };
                        write(audited, now(), &record, &mut done);
                        result
                    }
                };
                if let Err(e) = &result {
                    done.problems
                        .push(format!("{}: {}: {e}", intent.target, intent.arm));
                }
                open.extend(lock(audited).actor.report(intent.ticket, result, now()));
            }
            Order::Renew {
                ticket,
                target,
                arm,
                actions,
                fence,
            } => {
                let recorded = lock(audited).record(now(), &Record::Renewing { ticket: *ticket });
                let result = match recorded {
                    Err(e) => Err(format!("the audit cannot be written: {e}")),
                    Ok(()) => {
                        let result = actuators.carry_out(target, arm, actions, *fence).await;
                        let record = Record::Renewed {
                            ticket: *ticket,
                            error: result.clone().err(),
                        };
                        write(audited, now(), &record, &mut done);
                        result
                    }
                };
                if let Err(e) = &result {
                    done.problems
                        .push(format!("{target}: {arm} could not be renewed: {e}"));
                    lock(audited).actor.not_renewed(*ticket);
                }
                done.renewals.push(Renewal {
                    target: Arc::clone(target),
                    arm: Arc::clone(arm),
                    error: result.err(),
                });
            }
            Order::Revert {
                ticket,
                target,
                arm,
                actions,
                why,
                fence,
            } => {
                // Reverting must not wait for an audit that cannot be written.
                let result = actuators.carry_out(target, arm, actions, *fence).await;
                if let Err(e) = &result {
                    done.problems
                        .push(format!("{target}: {arm} could not be taken back: {e}"));
                }
                let record = Record::Reverted {
                    ticket: *ticket,
                    why: why.to_string(),
                    error: result.err(),
                };
                write(audited, now(), &record, &mut done);
            }
            Order::NotReverted { ticket, why, .. } => {
                let record = Record::Reverted {
                    ticket: *ticket,
                    why: why.to_string(),
                    error: Some("another monitor holds the lease".to_owned()),
                };
                write(audited, now(), &record, &mut done);
            }
            Order::Settled(settled) => {
                write(audited, now(), &Record::Settled(settled.clone()), &mut done);
            }
            Order::Escalate { target, failure, why } => {
                let text = format!("{target}: {failure}: a person is needed: {why}");
                write(audited, now(), &Record::Note { text }, &mut done);
            }
            Order::BreakerTripped { why } => {
                let text = format!("the breaker tripped: {why}");
                write(audited, now(), &Record::Note { text }, &mut done);
            }
            Order::Suggest(_) => {}
        }
        done.orders.push(order);
    }
    done
}

fn write(audited: &Mutex<AuditedActor>, at: Time, record: &Record, done: &mut Done) {
    if let Err(e) = lock(audited).record(at, record) {
        done.problems.push(format!("the audit cannot be written: {e}"));
    }
}
