//! The System Under Test as a library; `main.rs` is a thin program over it.

pub mod accuracy;
pub mod app;
pub mod benchmark;
pub mod bridge;
pub mod cli;
pub mod closing;
pub mod commands;
pub mod counters;
pub mod dataset;
pub mod early_stopping;
pub mod ending;
pub mod environment;
pub mod exit;
pub mod ledger;
pub mod load;
pub mod no_summary;
pub mod plan;
pub mod printouts;
pub mod progress;
pub mod prompts;
pub mod report;
pub mod server;
pub mod standing;
pub mod telemetry;
pub mod verdict;
pub mod worker;
