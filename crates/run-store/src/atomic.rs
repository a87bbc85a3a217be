//! Atomic replacement and removal of a run's files, with this library's errors.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

#[cfg(feature = "sqlite")]
pub(crate) use atomic_file::temporary_name;
use run_model::{Error, Result};

/// Replaces `path` through a temporary file in the same folder. `durable` also syncs to disk: used for
/// finished files, not during a run.
pub(crate) fn replace_file(
    path: &Path,
    durable: bool,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    atomic_file::replace(path, durable, fill, |action, path, source| {
        Error::io(action, path)(source)
    })
}

/// Removes a file; a missing file is not an error.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
