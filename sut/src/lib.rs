//! The System Under Test as a library; `main.rs` is a thin program over it.
//!
//! ```text
//! commands ── series ── run ── harness, recorder ── workload ── server ── plan ── cli
//! ```

mod cli;
mod commands;
mod console;
mod exit;
mod harness;
mod live;
mod plan;
mod recorder;
mod run;
mod secret_args;
mod series;
mod server;
mod shutdown;
mod workload;

pub use cli::Cli;
pub use commands::run;
pub use exit::{Exit, Fail};
pub use secret_args::hide_secret_args;

/// The overhead check, for the benches.
pub mod overhead {
    pub use crate::series::Program;
    pub use crate::series::overhead::{Comparison, Finding, Ratio, measure};
}
