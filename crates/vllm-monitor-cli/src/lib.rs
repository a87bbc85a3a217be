//! The program `vllm-monitor` as a library: input and output around the pure core of the crate `vllm-monitor`.
//!
//! ```text
//!  probe, tail, process, sampler ─► target ─► hub: Monitor::step ─► journal, serve, notify, keeper
//!                                                       └────────► acting
//! ```
//!
//! - [`target`](mod@target) runs one task per server. It gathers what the probes, the log, `/proc` and the samplers
//!   report, and makes one snapshot at each tick. A server that does not answer, or answers garbage, delays no other.
//! - [`hub`] owns the core's state. Every decision leaves it as a numbered [`hub::Record`].
//! - [`serve`] answers over HTTP, [`journal`] writes JSON lines, [`notify`] sends alerts, [`state_keeper`] saves what was
//!   learned; [`transfer`] carries it elsewhere.
//! - [`acting`] decides on actions and carries them out; by default it only reports what it would do.
//! - [`plugins`] runs the user's scripts between the core and [`acting`].
//! - [`supervise`] runs a server as a child; [`check`] looks at everything before it starts.
//! - [`settings`] resolves flags, environment and file once.

pub mod acting;
pub mod check;
pub mod error;
pub mod hub;
pub mod journal;
pub mod notify;
pub mod plugins;
pub mod probe;
pub mod process;
pub mod recorded;
pub mod runtime;
pub mod sampler;
pub mod serve;
pub mod settings;
pub mod state_keeper;
pub mod status;
pub mod supervise;
pub mod tail;
pub mod target;
pub mod transfer;

pub use error::{Error, Result};
