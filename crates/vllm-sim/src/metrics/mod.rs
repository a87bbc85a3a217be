//! The metrics page: which families vLLM 0.32 has, and how the simulator's numbers fill them.

pub(crate) mod buckets;
mod histogram;
mod http_stats;
pub(crate) mod page;
mod process;

pub(crate) use histogram::Histogram;
pub(crate) use http_stats::{Exchange, HttpStats};
pub use page::LEFT_OUT;
