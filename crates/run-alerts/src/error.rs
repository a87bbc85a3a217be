//! The crate's error type.

use std::io;
use std::path::PathBuf;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not TOML, has unknown keys, or lacks some.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        reason: String,
    },
    /// Rules that cannot be used; all problems together.
    #[error("{}:\n{}", path.display(), problems.join("\n"))]
    Rules {
        /// The file.
        path: PathBuf,
        /// One line each.
        problems: Vec<String>,
    },
    /// No thread or HTTP client could be had.
    #[error("alerts cannot be watched: {0}")]
    Start(#[source] io::Error),
}
