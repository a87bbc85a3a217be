//! Plugins of the monitor that can be added, changed and removed at run time.
//!
//! A plugin is one file, `NAME.rhai`, in a folder. The functions that it defines determine its role:
//!
//! | function | called | returns |
//! |---|---|---|
//! | `derive(s)` or `execute(s)` | with every snapshot | a map of names to numbers: derived signals, exported as metrics |
//! | `detect(s)` | with every snapshot, after all `derive` | nothing, one finding, or an array of findings |
//! | `rule(s)` | with every snapshot | nothing, or a map `#{ veto: ["restart"], why: "…" }` |
//! | `notify(e)` | with every alert | nothing, or a map `#{ title: "…", text: "…" }` that is sent |
//! | `manifest()` | once, when the file is loaded | version, requirements, settings; see [`Manifest`] |
//!
//! `this` is a map that the plugin keeps between calls. The sandbox gives no access to files, network,
//! environment or clock, and limits the operations, time and memory of a call ([`Limits`]).
//!
//! - [`Host`] runs the plugins of a folder. A new or changed file first passes a dry run over recorded
//!   snapshots; until then the previous version stays. A plugin that fails repeatedly is quarantined, and the
//!   previous version is restored.
//! - [`commands`] are `plugins new`, `validate`, `list` and `test`.
//! - [`subprocess`] runs actuators and other programs that exchange JSON lines.
//!
//! It does not protect against a plugin's author who wants to mislead the monitor. A plugin's findings are
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
pub use host::{Change, Host, HostConfig, ListedPlugin, Status, Tick};
pub use limits::Limits;
pub use manifest::Manifest;
pub use output::{Fault, Finding, Message, Veto};
pub use plugin::Role;

/// Version of the snapshot that plugins see.
pub const SNAPSHOT_SCHEMA: u32 = 1;
