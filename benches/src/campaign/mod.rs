//! The fault campaign: faults on servers, each at many seeds, next to matched healthy runs, scored for the monitor and
//! for baselines on the same records.
//!
//! ```text
//!  cases (TOML) ─► simulate ─► records (rows of seconds, labels) ─► methods ─► score
//!  a real server's records (CSV) ──────►
//! ```
//!
//! Every method reads the rows, and only the rows: what one of them can know, each can.

mod baselines;
mod case;
mod fidelity;
mod kmeans;
mod methods;
mod record;
mod row;
mod score;
mod simulate;
mod table;
mod tune;

pub use case::{Campaign, Case, Finds};
pub use fidelity::compare;
pub use record::{Label, Record, read, write};
pub use row::Row;
pub use simulate::{Variant, simulate};
pub use table::{HEAD, lines, parameters};
pub use tune::{Tuned, tune};
