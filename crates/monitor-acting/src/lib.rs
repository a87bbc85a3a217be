//! Decides which action to take on a server in trouble, and whether it helped.
//!
//! The core is pure: no clock, no I/O, no threads; chance is a function of a seed and the number of the decision.
//! A shell feeds it and carries out its orders:
//!
//! ```text
//!  Situation ─► Actor::step ─► Order::Act ─► audit: intent (fsync) ─► actuator ─► Actor::report ─► audit: outcome
//!                  │   ▲        Order::Revert, Order::Settled, Order::Escalate, …
//!                  ▼   │
//!   guardrails → learner → verification           (Memory: what survives a restart)
//! ```
//!
//! - [`arm`] describes actions as data: what an action needs, which signal it should move by when, how it is taken
//!   back, what it affects and costs. [`strategy`] is the trait behind which they stand; own strategies register there.
//! - [`guard`] removes what is not admissible before anything is chosen: the mode is `observe` by default and each
//!   action is opted in by name.
//! - [`verify`] judges an action at its deadline against a forecast without it.
//! - [`learn`] chooses among admissible actions by Thompson sampling and learns from what came of them.
//! - [`audit`] is a hash-chained log of intents and outcomes; [`store`] keeps what survives a restart.
//!
//! - [`adapter`] makes situations of what the monitor knows; [`actuate`] and [`shell`] carry orders out. They are the
//!   only parts with I/O beside the audit and the store.
//!
//! What it does not do: observe a server (the monitor does), or act without an entry in the audit.

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

pub use actor::{Actor, ActorConfig, Memory, Standing, Tally};
pub use error::{Error, Result};
pub use order::{Action, Intent, Order, Plan, Settled, Ticket, Which};
pub use situation::{Capability, Evidence, EvidenceKind, Failure, SIGNALS, Situation, Target, signal};
pub use time::Time;
