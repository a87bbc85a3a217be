//! Tests of the whole core: snapshots in, decisions out.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the support modules serve the evaluation program too"
)]

#[path = "../support/mod.rs"]
mod support;

mod activity;
mod defects;
mod lifecycle;
mod long_runs;
mod machine;
mod predictors;
mod properties;
mod world;
