//! The System Under Test as a library; `main.rs` is a thin program over it.

pub mod accuracy;
pub mod cli;
pub mod dataset;
pub mod exit;
pub mod plan;
