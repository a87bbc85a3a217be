//! What is asked of a server over HTTP: one bounded GET at a time, each on a connection of its own.
//!
//! A fresh connection per probe measures the time to connect and shows a listener that no longer accepts. Every wait
//! has a limit, and so has every answer.

mod canary;
mod fetch;
mod page;
mod routes;

pub use canary::Canary;
pub use fetch::{Answer, Endpoint, Limits, get};
pub use page::{PageReader, PageSummary};
pub use routes::{models, says_scaling, version};
