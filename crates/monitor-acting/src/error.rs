//! The crate's error type.

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong outside of deciding, which cannot fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of arms or limits that cannot be used, with every problem: correct it.
    #[error("{file}: {}", .problems.join("; "))]
    Data {
        /// The file.
        file: String,
        /// All problems found.
        problems: Vec<String>,
    },
    /// A saved state that cannot be used; it is set aside and learning starts anew.
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
    /// The name of a strategy is taken or unusable.
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
