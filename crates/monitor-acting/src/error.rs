//! The crate's error type.

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors outside of decisions, which cannot fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An invalid file of arms or limits, with every problem to correct.
    #[error("{file}: {}", .problems.join("; "))]
    Data {
        /// The file.
        file: String,
        /// All problems found.
        problems: Vec<String>,
    },
    /// An unusable saved state; it is set aside and learning starts from scratch.
    #[error("the saved state {file} cannot be used: {problem}")]
    State {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// Reading or writing a file failed.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The name of a strategy is taken or invalid.
    #[error("strategy {name}: {problem}")]
    Strategy {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io {
            file: path.display().to_string(),
            source,
        }
    }
}
