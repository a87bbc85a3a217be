//! Watch a vLLM server: its state with the reasons for it, and failures foreseen with probability and time.
//!
//! This is the pure core. Everything that judges is a function of what it was given: no clock, no input or output, no
//! thread, no randomness. Live scrape, replay of a record, simulator and tests run the same code:
//!
//! ```text
//!  observe (I/O)                     judge (this crate, pure)                    report (I/O)
//!  scrape, log, /proc, probes  →  SnapshotBuilder → Snapshot → Monitor::step  →  Decisions
//!  own requests, canary, GPUs                          ↑ State ↓
//! ```
//!
//! - [`SnapshotBuilder`] folds series values and facts into a [`Snapshot`]: every value a [`Signal`] that is fresh,
//!   stale, or absent with the reason.
//! - [`Monitor::step`] takes a snapshot and the [`State`] and returns [`Decision`]s: events, alerts, and, once a policy
//!   acts, intents. Here the policy observes only.
//! - [`lifecycle`] says which state a server is in, why, and what spoke against it.
//! - [`predict`] holds one predictor a file; what they say is a [`Forecast`], or what they would need to make one.
//! - [`state`] is what survives a restart; [`replay`] steps through recorded snapshots; [`config`] resolves settings;
//!   [`preflight`] judges facts before a server is started.
//!
//! What it does not do: ask the server to judge itself (`/health` answers 200 while the engine hangs), take silence for
//! health or for death, or act.

pub mod config;
mod error;
mod evidence;
mod forecast;
pub mod lifecycle;
mod monitor;
pub mod numeric;
pub mod policy;
pub mod predict;
pub mod preflight;
pub mod rates;
pub mod replay;
pub mod shell;
mod signal;
pub mod snapshot;
pub mod state;
mod time;

pub use error::{Error, Result};
pub use evidence::{Evidence, Source};
pub use forecast::{
    Assessment, Basis, Condition, FailureType, Forecast, HORIZONS_SECS, Horizons, Need, Prediction, Severity,
    TimeToFailure,
};
pub use monitor::{Monitor, State, TargetState};
pub use policy::{Alert, AlertChange, AlertKind, Decision, Event, EventKind, Intent, Revert, Verify};
pub use signal::{Absence, Signal};
pub use snapshot::{Probe, ProbeOutcome, Snapshot, SnapshotBuilder, StaleAfter};
pub use time::Time;
