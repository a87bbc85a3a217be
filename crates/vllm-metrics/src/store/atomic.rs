//! Replace a file so that a reader, or a kill at any moment, finds the old or the new one and never half of one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Name under which the next version of `path` is written. Readers ignore it: a kill may leave one behind.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Writes `path` anew through a temporary name in the same folder. `durable` also waits for the disk, which a kill
/// of the process does not need but a power cut does: finished files ask for it, those of a running test do not.
pub(crate) fn replace_file(
    path: &Path,
    durable: bool,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let temporary = temporary_name(path);
    let file = File::create(&temporary).map_err(Error::io("create", &temporary))?;
    let mut writer = BufWriter::with_capacity(64 * 1024, file);
    fill(&mut writer)?;
    writer.flush().map_err(Error::io("write", &temporary))?;
    let file = writer
        .into_inner()
        .map_err(|error| Error::io("write", &temporary)(error.into_error()))?;
    if durable {
        file.sync_all().map_err(Error::io("sync", &temporary))?;
    }
    drop(file);
    fs::rename(&temporary, path).map_err(Error::io("rename", &temporary))
}

/// Removes a file; one that is already gone is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
