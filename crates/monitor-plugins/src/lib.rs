//! Plugins of the monitor, added, changed and removed while it runs.
//!
//! A plugin is one file, `NAME.rhai`, in a folder. Which functions it defines says what it is:
//!
//! | function | called | returns |
//! |---|---|---|
//! | `derive(s)` or `execute(s)` | with every snapshot | a map of names to numbers: derived signals, exported as metrics |
//! | `detect(s)` | with every snapshot, after all `derive` | nothing, one finding, or an array of findings |
//! | `rule(s)` | before an action is chosen | nothing, or a map `#{ veto: ["restart"], why: "…" }` |
//! | `notify(e)` | with every alert | nothing, or a map `#{ title: "…", text: "…" }` that is sent |
//! | `manifest()` | once, when the file is loaded | name, version, what it requires; see [`Manifest`] |
//!
//! `this` is a map that the plugin keeps between calls. The sandbox gives no file, network, environment or clock; a
//! call may take so many operations, so much time and so much memory ([`Limits`]).
//!
//! - [`Host`] runs the plugins of a folder. A new or changed file first passes a dry run over recorded snapshots; until
//!   then the version before stays. A plugin that fails again and again is quarantined, and the version before returns.
//! - [`commands`] are `plugins new`, `validate`, `list` and `test`.
//! - [`subprocess`] runs actuators and other programs that speak JSON lines.
//!
//! What it does not do: protect from a plugin's author who wants the monitor to judge wrongly. A plugin's findings are
//! marked with its name, and its evidence counts as one kind.

pub mod commands;
mod error;
mod host;
mod limits;
mod manifest;
mod order;
mod output;
mod plugin;
mod sandbox;
pub mod subprocess;

pub use error::{Error, Result};
pub use host::{Change, Host, HostConfig, Listed, Status, Tick};
pub use limits::Limits;
pub use manifest::Manifest;
pub use output::{Fault, Finding, Message, Veto};
pub use plugin::Role;

/// Version of the snapshot that plugins see.
pub const SNAPSHOT_SCHEMA: u32 = 1;
