//! Sessions against a scripted server on its own port: what is recorded, and what is reported otherwise.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which the lint does not see as tests"
)]

mod beyond;
mod export;
mod faults;
mod hooks;
mod live;
mod partial;
#[path = "../store/receiver.rs"]
#[allow(dead_code, reason = "the tests of the stores read more of a request")]
mod receiver;
mod recording;
mod server;
mod start;
mod stores;
