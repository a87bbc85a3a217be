//! Generated servers for tests and for the evaluation program: a scheduler in virtual time, loads, and the feed that
//! makes snapshots of it as a scrape would.

pub mod engine;
pub mod feed;
pub mod load;
pub mod rng;
