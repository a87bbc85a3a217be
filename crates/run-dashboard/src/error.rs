//! Errors of this crate.

use std::io;
use std::net::SocketAddr;

/// Why a run cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen at {address}: {source}; choose another port, or 0 for any free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system has no further thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
