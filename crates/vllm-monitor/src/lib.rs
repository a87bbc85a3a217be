//! Monitors a vLLM server: tracks its state with the evidence for it, and predicts failures with a probability and a time.
//!
//! This is the pure core: no clock, no I/O, no threads, no randomness. Live scraping, replay of a recording, the
//! simulator and the tests all run the same code:
//!
//! ```text
//!  observe (I/O)                     evaluate (this crate, pure)                 report (I/O)
//!  scrape, log, /proc, probes  →  SnapshotBuilder → Snapshot → Monitor::step  →  Decisions
//!  own requests, canary, GPUs                          ↑ State ↓
//! ```
//!
//! - [`SnapshotBuilder`] folds series values and facts into a [`Snapshot`]: every value a [`Signal`] that is fresh,
//!   stale, or absent with a reason.
//! - [`Monitor::step`] takes a snapshot and the [`State`] and returns [`Decision`]s: events, alerts and, with an acting
//!   policy, intents. The policy included here only observes.
//! - [`lifecycle`] determines the server's state, with the evidence for and against it.
//! - [`predict`] holds one predictor per file. A predictor returns a [`Forecast`], or what it needs to make one.
//! - [`state`] is what survives a restart; [`replay`] steps through recorded snapshots; [`config`] resolves settings;
//!   [`preflight`] checks facts before a server is started.
//!
//! What it does not do: rely on the server's own health flag (`/health` answers 200 while the engine hangs), treat
//! missing data as healthy or as dead, or act on a server.

pub mod config;
mod error;
mod evidence;
mod forecast;
pub mod lifecycle;
pub mod log;
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
