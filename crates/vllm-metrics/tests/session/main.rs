//! Sessions against a scripted server on a port of its own: what is recorded, and what is told when it is not.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which the lint does not see as tests"
)]

mod doors;
mod export;
mod faults;
mod hooks;
mod partial;
mod recording;
mod server;
mod stores;
