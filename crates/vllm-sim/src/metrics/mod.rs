//! The metrics page: the families of vLLM 0.32, filled with the simulator's numbers.

mod catalog;
mod http_stats;
pub(crate) mod page;
pub(crate) mod part;
pub(crate) mod process;
pub(crate) mod sglang;

pub use catalog::LEFT_OUT;
pub(crate) use http_stats::{Exchange, HttpStats};
pub(crate) use process::ProcessFigures;
