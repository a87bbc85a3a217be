//! The library's one error type, its variants by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Result with this library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Nothing that happens while a run is being recorded is reported this way: a run goes on, and
/// what is missing stands in its events. These errors come from starting, finishing, reading and converting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used; every problem found is listed. Change it and try again.
    #[error("configuration: {}", problems.join("; "))]
    Config {
        /// One sentence per problem, each naming its key.
        problems: Vec<String>,
    },
    /// An operation on a file or folder failed. Look at permissions and free space.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: `create`, `write`, `read`, `rename`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what its name says, or is damaged beyond what can be recovered.
    #[error("cannot read {path} as {format}: {reason}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it was read as.
        format: &'static str,
        /// What was found.
        reason: String,
    },
    /// A store could not write. What was written before it is kept.
    #[error("cannot store into {target}: {reason}")]
    Store {
        /// File, folder or URL of the store.
        target: String,
        /// What happened.
        reason: String,
    },
    /// An endpoint cannot be watched. The reason says what to look at.
    #[error("endpoint {url}: {reason}")]
    Endpoint {
        /// The endpoint as configured, without credentials.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The system refused a thread, a runtime or a socket.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What could not be started.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A thread of this library ended in a panic. What it had handed on before is kept; please report it.
    #[error("the {thread} thread panicked: {message}")]
    Panicked {
        /// Which thread.
        thread: &'static str,
        /// The panic's message.
        message: String,
    },
}

impl Error {
    /// An [`Error::Config`] with one problem.
    pub fn config(problem: impl Into<String>) -> Self {
        Self::Config {
            problems: vec![problem.into()],
        }
    }

    /// For `map_err`: an [`Error::Io`] on `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// The message of a caught panic.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}
