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
    let replaced = write_temporary(&temporary, durable, fill)
        .and_then(|()| fs::rename(&temporary, path).map_err(Error::io("rename", &temporary)));
    if replaced.is_err() {
        // A full disk needs the room, and nobody reads half a file. The error to tell is the first one.
        let _left_behind = fs::remove_file(&temporary);
    }
    replaced
}

fn write_temporary(
    temporary: &Path,
    durable: bool,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let file = File::create(temporary).map_err(Error::io("create", temporary))?;
    let mut writer = BufWriter::with_capacity(64 * 1024, file);
    if let Err(error) = fill(&mut writer) {
        // Without this the drop would try to write what is still buffered.
        let (_file, _buffered) = writer.into_parts();
        return Err(error);
    }
    writer.flush().map_err(Error::io("write", temporary))?;
    let file = writer
        .into_inner()
        .map_err(|error| Error::io("write", temporary)(error.into_error()))?;
    if durable {
        file.sync_all().map_err(Error::io("sync", temporary))?;
    }
    Ok(())
}

/// Removes a file; one that is already gone is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace_file(&path, false, |out| {
            out.write_all(b"old").map_err(Error::io("write", &path))
        })
        .unwrap();
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = replace_file(&path, false, |out| {
            out.write_all(b"new").map_err(Error::io("write", &path))?;
            Err(Error::io("write", &path)(full()))
        });
        assert!(error.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
