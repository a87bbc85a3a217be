//! Why a report, a comparison or an export could not be made.

use std::path::PathBuf;

/// Result of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file could not be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A verdict file is not one.
    #[error(
        "{path} is not a verdict of a run: {source}; remove it, and the report says that nothing judged the run"
    )]
    Verdict {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The page contradicts itself.
    #[error(transparent)]
    Page(#[from] report_page::Error),
    /// Too few runs for a comparison.
    #[error("a comparison needs a run on each side")]
    NothingToCompare,
}
