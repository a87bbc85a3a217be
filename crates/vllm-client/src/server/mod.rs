//! Starts, watches and stops one vLLM server process.
//!
//! The server runs in its own process group, and only that group is signalled. If this program dies for any
//! reason, a watchdog process ends the group. The server's output goes to a log file that is kept. The exit
//! of the child with any status (vLLM exits with 0 when its engine dies) is detected at once and reported
//! with its last log lines.

mod config;
mod file;
mod process;
mod watchdog;

pub use config::{ServerConfig, arguments_from_map};
pub use process::{Exit, ProcessEnded, ServerProcess, Stopped};

use std::path::PathBuf;
use std::time::Duration;

use crate::error::ControlError;

/// Why a server could not be started, or did not become ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The server's settings cannot be used.
    #[error("server settings {origin}: {reason}")]
    Config {
        /// File or flag of the setting.
        origin: String,
        /// The problem and a valid alternative.
        reason: String,
    },
    /// The address is already in use.
    #[error(
        "cannot start a server on {host}:{port}: {reason}; stop what listens there, choose another port, \
         or attach to it by its URL"
    )]
    PortTaken {
        /// As configured.
        host: String,
        /// As configured.
        port: u16,
        /// What the operating system said.
        reason: String,
    },
    /// The log file cannot be opened.
    #[error("server log {path}: {source}")]
    Log {
        /// Where it should be.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The command cannot be run.
    #[error("cannot run {command:?}: {source}; is vLLM installed and on the PATH?")]
    Spawn {
        /// Its first word.
        command: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The server ended before it was ready.
    #[error("{0}")]
    ProcessEnded(#[source] ProcessEnded),
    /// The server runs but did not become ready in time.
    #[error("{source}; it is still running, its log is {log_path}, which ends:\n{}", last_lines.join("\n"))]
    NotReady {
        /// What was still missing.
        source: ControlError,
        /// The log file.
        log_path: PathBuf,
        /// Its last lines.
        last_lines: Vec<String>,
    },
    /// A client for the server's address could not be made.
    #[error(transparent)]
    Client(ControlError),
    /// Processes of the group survived the kill signal.
    #[error("processes of the server are left {} after SIGKILL: {left:?}", duration_text::Shown(*.after))]
    Unkillable {
        /// Process ids and names.
        left: Vec<(i32, String)>,
        /// How long they were waited for.
        after: Duration,
    },
}
