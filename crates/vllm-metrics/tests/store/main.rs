//! The stores through their public API: every format reads back what was written, at every moment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod formats;
mod kill;
mod parquet;
mod reader;
mod receiver;
mod send;
