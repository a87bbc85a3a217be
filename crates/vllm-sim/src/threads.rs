//! Named threads.

use std::io;
use std::thread::JoinHandle;

use crate::error::{Error, Result};

/// Starts a named thread.
///
/// # Errors
/// [`Error::Start`] if the system cannot create one.
pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let start = |source: io::Error| Error::Start {
        what: "thread",
        source,
    };
    std::thread::Builder::new().name(name).spawn(body).map_err(start)
}
