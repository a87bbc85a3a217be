//! The crate's error type, with variants by what the caller can do.

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors from reading files and settings. Evaluating a snapshot cannot fail.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings that cannot be used, all of them together: correct them.
    #[error("the settings cannot be used:\n{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// A data file that cannot be used: correct it.
    #[error("{file}: {problem}")]
    Data {
        /// The file.
        file: String,
        /// What is wrong, with the entry's name.
        problem: String,
    },
    /// A saved state that cannot be used: it is set aside and learning starts anew.
    #[error("the saved state cannot be used: {0}")]
    State(String),
    /// A file of the model that is not what it should be.
    #[error("{file}: {problem}")]
    Model {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
}
