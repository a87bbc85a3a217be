//! Files of a run, replaced whole, with the errors of this library.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

pub(crate) use atomic_file::temporary_name;
use run_model::{Error, Result};

/// Writes `path` anew through a temporary name in the same folder. `durable` also waits for the disk: finished files ask
/// for it, those of a running test do not.
pub(crate) fn replace_file(
    path: &Path,
    durable: bool,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    atomic_file::replace(path, durable, fill, |action, path, source| {
        Error::io(action, path)(source)
    })
}

/// Removes a file; one that is already gone is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
