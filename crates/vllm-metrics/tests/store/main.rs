//! The stores seen from outside: what is written is what is read back, in every format, at every moment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod formats;
mod kill;
mod parquet;
mod reader;
mod receiver;
mod send;
