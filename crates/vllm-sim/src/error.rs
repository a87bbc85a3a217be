//! Errors when starting a simulated server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a simulator did not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An invalid value; the text names it and the bound.
    #[error("simulator configuration: {0}")]
    Config(String),
    /// The address is in use or not local.
    #[error("cannot listen on {address}: choose another address or port 0")]
    Listen {
        /// Address asked for.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The library of the simulated GPUs could not be written.
    #[error("cannot put simulated GPUs into {}: choose a folder that can be written", dir.display())]
    Gpus {
        /// Folder asked for.
        dir: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A thread or its event loop could not be started.
    #[error("cannot start the simulator's {what}: check limits on threads and open files")]
    Start {
        /// Which part.
        what: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}
