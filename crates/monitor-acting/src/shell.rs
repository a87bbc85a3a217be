//! Executes orders in the right sequence: audit, action, report.

use crate::actuate::Actuators;
use crate::audit::{Audit, Record};
use crate::{Actor, Order, Time};

/// The result of executing orders.
#[derive(Debug, Default)]
pub struct Done {
    /// The executed orders, including those that followed from failures.
    pub orders: Vec<Order>,
    /// Failed actions, reverts and audit writes. Show them to the operator: if the audit cannot be written,
    /// no further action is taken.
    pub problems: Vec<String>,
}

/// Writes each intent to the audit, executes it, reports and records the result.
///
/// If an intent cannot be written, it is not executed. `now` gives the time of each entry.
pub async fn carry_out(
    orders: Vec<Order>,
    actor: &mut Actor,
    actuators: &Actuators,
    audit: &mut Audit,
    now: impl Fn() -> Time,
) -> Done {
    let mut open: std::collections::VecDeque<Order> = orders.into();
    let mut done = Done::default();
    while let Some(order) = open.pop_front() {
        match &order {
            Order::Act(intent) => {
                let result = match audit.append(now(), &Record::Intent(intent.clone())) {
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
                        write(audit, now(), &record, &mut done);
                        result
                    }
                };
                if let Err(e) = &result {
                    done.problems
                        .push(format!("{}: {}: {e}", intent.target, intent.arm));
                }
                open.extend(actor.report(intent.ticket, result, now()));
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
                write(audit, now(), &record, &mut done);
            }
            Order::Settled(settled) => {
                write(audit, now(), &Record::Settled(settled.clone()), &mut done);
            }
            Order::Escalate { target, failure, why } => {
                let text = format!("{target}: {failure}: a person is needed: {why}");
                write(audit, now(), &Record::Note { text }, &mut done);
            }
            Order::BreakerTripped { why } => {
                let text = format!("the breaker tripped: {why}");
                write(audit, now(), &Record::Note { text }, &mut done);
            }
            Order::Would(_) => {}
        }
        done.orders.push(order);
    }
    done
}

fn write(audit: &mut Audit, at: Time, record: &Record, done: &mut Done) {
    if let Err(e) = audit.append(at, record) {
        done.problems.push(format!("the audit cannot be written: {e}"));
    }
}
