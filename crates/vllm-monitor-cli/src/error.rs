//! The crate's error type, with variants by what the caller can do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the monitor could not start. Nothing that happens to a target later is an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Flags, environment or files that cannot be used; all problems together.
    #[error("the settings cannot be used:\n{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// A setting that the core refuses.
    #[error(transparent)]
    Core(#[from] vllm_monitor::Error),
    /// The monitor's own address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another address with --listen, or `--listen off`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of the acting part that cannot be used.
    #[error(transparent)]
    Acting(#[from] monitor_acting::Error),
    /// The server's command could not be started.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The program.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// The system granted no thread, socket or timer.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}
