//! Decides which action to take on a failing server, and judges its effect.
//!
//! The core is pure: no clock, no I/O, no threads; randomness is a function of a seed and the number of the
//! decision. A shell provides its input and executes its orders:
//!
//! ```text
//!  Situation ─► Actor::step ─► Order::Act ─► audit: intent (fsync) ─► actuator ─► Actor::report ─► audit: outcome
//!                  │   ▲        Order::Revert, Order::Settled, Order::Escalate, …
//!                  ▼   │
//!   guardrails → learner → verification           (Memory: what survives a restart)
//! ```
//!
//! - [`arm`] describes actions as data: what an action requires, which signal it should change by when, how
//!   it is reverted, what it affects and costs. [`strategy`] is the trait for actions, where custom ones are
//!   registered.
//! - [`guard`] removes inadmissible actions before the choice: the mode is `observe` by default and each
//!   action must be enabled by name.
//! - [`verify`] judges an action at its deadline against a forecast without it.
//! - [`learn`] chooses among admissible actions by Thompson sampling and learns from their results.
//! - [`audit`] is a hash-chained log of intents and outcomes; [`store`] keeps the state that survives a
//!   restart.
//!
//! - [`adapter`] converts the monitor's state to situations; [`actuate`] and [`shell`] execute orders.
//!   Together with the audit and the store they are the only parts with I/O.
//!
//! It does not observe servers (the monitor does), and never acts without an entry in the audit.

mod actor;
pub mod actuate;
pub mod adapter;
pub mod arm;
pub mod audit;
mod error;
pub mod forecast;
pub mod guard;
pub mod learn;
mod order;
pub mod shell;
mod situation;
pub mod store;
pub mod strategy;
mod time;
pub mod verify;

pub use actor::{ActionInForce, Actor, ActorConfig, Memory, Tally};
pub use error::{Error, Result};
pub use order::{AbortOrder, Action, Intent, Order, Plan, Settled, Ticket};
pub use situation::{Capability, Evidence, EvidenceKind, Failure, SIGNALS, Situation, Target, signal};
pub use time::Time;
