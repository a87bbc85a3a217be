//! A run on a terminal: one that goes on, one that is stored, or one that another process records.
//!
//! ```text
//!  Source (records, counters) ─► LiveView ─► Snapshot ─► scene ─► Terminal
//!                                  └ all on the thread of a Screen ┘
//! ```
//!
//! - [`Source`] delivers new records and the state of the run; implement it for a recorder's subscription or a file.
//! - [`Snapshot`] is everything that one picture shows. Its figures come from [`run_analysis::view`]; nothing is
//!   computed here.
//! - [`draw`] draws a snapshot in any size, also into a buffer in tests.
//! - [`Screen`] owns a thread that reads the source, draws four times a second, reads keys, and restores the terminal
//!   when it ends, after an error, and after a panic of any thread.
//!
//! Colours are left out if `NO_COLOR` is set, and characters beyond ASCII if the locale is not UTF-8.

mod format;
mod history;
mod scene;
mod screen;
mod snapshot;
mod source;
mod terminal;

pub use history::{History, Point};
pub use scene::{SceneStyle, draw};
pub use screen::{Cost, Options, Screen};
pub use snapshot::Snapshot;
pub use source::{Limits, MissedUpdates, Queries, Source, State, Status, Stop};
pub use terminal::{Output, is_usable};
