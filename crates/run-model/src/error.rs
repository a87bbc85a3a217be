//! The error type of the recorder's crates, with variants by what the caller can do.

use std::io;
use std::path::{Path, PathBuf};

/// Result with this library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its causes, most general first. A cause whose text is already there is left out.
///
/// ```
/// use run_model::error::with_causes;
///
/// let error = std::io::Error::other("no such host");
/// assert_eq!(with_causes(&error), "no such host");
/// ```
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

/// Errors of starting, finishing, reading and converting. Problems during a run are not errors: the run
/// continues, and its events record what is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is invalid; every problem found is listed. Change it and try again.
    #[error("configuration: {}", problems.join("; "))]
    Config {
        /// One sentence per problem, each naming its key.
        problems: Vec<String>,
    },
    /// An operation on a file or folder failed. Check permissions and free space.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// The failed operation: `create`, `write`, `read`, `rename`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file does not have the format its name implies, or is damaged beyond recovery.
    #[error("cannot read {path} as {format}: {reason}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it was read as.
        format: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A store could not write. What was written before is kept.
    #[error("cannot store into {target}: {reason}")]
    Store {
        /// File, folder or URL of the store.
        target: String,
        /// What happened.
        reason: String,
    },
    /// An endpoint cannot be scraped, for the given reason.
    #[error("endpoint {url}: {reason}")]
    Endpoint {
        /// The endpoint as configured, without credentials.
        url: String,
        /// The reason.
        reason: String,
    },
    /// The system refused a thread, a runtime or a socket.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What could not be started.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A thread of this library panicked. What it had published before is kept; please report the panic.
    #[error("the {thread} thread panicked: {message}")]
    Panicked {
        /// Which thread.
        thread: &'static str,
        /// The panic's message.
        message: String,
    },
}

impl Error {
    /// Creates an [`Error::Config`] with one problem.
    pub fn config(problem: impl Into<String>) -> Self {
        Self::Config {
            problems: vec![problem.into()],
        }
    }

    /// Returns a closure for `map_err` that creates an [`Error::Io`] for `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// Returns the message of a caught panic.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}
