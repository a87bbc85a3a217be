//! The metrics page: which families vLLM 0.32 has, and how the simulator's numbers fill them.

pub(crate) mod buckets;
mod catalog;
mod histogram;
mod http_stats;
pub(crate) mod page;
pub(crate) mod part;
mod process;
pub(crate) mod sglang;

pub use catalog::LEFT_OUT;
pub(crate) use histogram::Histogram;
pub(crate) use http_stats::{Exchange, HttpStats};
