//! The metrics page: which families vLLM 0.32 has, and how the simulator's numbers fill them.

mod catalog;
mod http_stats;
pub(crate) mod page;
pub(crate) mod part;
pub(crate) mod process;
pub(crate) mod sglang;

pub use catalog::LEFT_OUT;
pub(crate) use http_stats::{Exchange, HttpStats};
pub(crate) use process::ProcessFigures;
