//! Console logging: where it goes and how much of it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogLevel;

/// Installs the logger on standard error. `RUST_LOG`, when set, wins over `--log-level`.
///
/// A second call in one process does nothing: tests run the program's library more than once.
pub fn install(level: LogLevel) {
    let directive = match level {
        LogLevel::Debug => "debug,hyper=info,hyper_util=info,reqwest=info",
        LogLevel::Info => "info",
        LogLevel::Warning => "warn",
        LogLevel::Error | LogLevel::Critical => "error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directive));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _already_installed = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(level == LogLevel::Debug)
        .try_init();
}
