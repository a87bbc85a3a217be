//! The crate's error type.

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of a plugin or a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The script is no valid program.
    #[error("{file}: {problem}")]
    Script {
        /// The file.
        file: String,
        /// What is wrong, with the line.
        problem: String,
    },
    /// The manifest cannot be used.
    #[error("{file}: manifest: {problem}")]
    Manifest {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A call failed, took too long, or returned an invalid value.
    #[error("{plugin}: {function}: {problem}")]
    Call {
        /// The plugin.
        plugin: String,
        /// The function.
        function: String,
        /// What went wrong.
        problem: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{file}: {problem}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        problem: String,
    },
    /// A subprocess could not be started, did not answer in time, or gave an invalid answer.
    #[error("{command}: {problem}")]
    Subprocess {
        /// The command.
        command: String,
        /// What went wrong.
        problem: String,
    },
}

impl Error {
    pub(crate) fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Io {
            file: path.display().to_string(),
            problem: error.to_string(),
        }
    }
}
