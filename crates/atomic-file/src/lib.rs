//! Atomic file replacement: at any moment, and after a kill, a reader finds either the old or the new
//! version, never a mix.
//!
//! The new version is written under [`temporary_name`] in the same folder and then renamed, which POSIX makes
//! atomic. A kill may leave the temporary file behind; the next write of the same file replaces it.
//!
//! ```
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("run.json");
//! atomic_file::write(&path, "{}")?;
//! assert_eq!(std::fs::read_to_string(&path)?, "{}");
//! # Ok::<(), std::io::Error>(())
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 64 * 1024;

/// Temporary name of the next version of `path`: its own with `.tmp` appended. Readers ignore it.
pub fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Replaces `path` with `contents` and syncs it to disk.
///
/// # Errors
/// The first error; the file is then unchanged.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    replace(
        path.as_ref(),
        true,
        |out| out.write_all(contents.as_ref()),
        |_, _, error| error,
    )
}

/// Replaces `path` with what `fill` writes.
///
/// `durable` also syncs to disk, which protects against a power cut; a kill of the process does not require
/// it. `error` builds the caller's error from the failed operation (`create`, `write`, `sync`, `rename`), its
/// file, and the system's error.
///
/// # Errors
/// The first error; the file is then unchanged, and no temporary file is left.
pub fn replace<E>(
    path: &Path,
    durable: bool,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
    error: impl Fn(&'static str, &Path, io::Error) -> E,
) -> Result<(), E> {
    let temporary = temporary_name(path);
    let replaced = write_temporary(&temporary, durable, fill, &error)
        .and_then(|()| fs::rename(&temporary, path).map_err(|source| error("rename", &temporary, source)));
    if replaced.is_err() {
        // Frees space if the disk is full. The error to report is the first one.
        let _left_behind = fs::remove_file(&temporary);
    }
    replaced
}

fn write_temporary<E>(
    temporary: &Path,
    durable: bool,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
    error: impl Fn(&'static str, &Path, io::Error) -> E,
) -> Result<(), E> {
    let file = File::create(temporary).map_err(|source| error("create", temporary, source))?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    if let Err(failed) = fill(&mut writer) {
        // Otherwise the drop would try to write what is still buffered.
        let (_file, _buffered) = writer.into_parts();
        return Err(failed);
    }
    writer
        .flush()
        .map_err(|source| error("write", temporary, source))?;
    let file = writer
        .into_inner()
        .map_err(|source| error("write", temporary, source.into_error()))?;
    if durable {
        file.sync_all()
            .map_err(|source| error("sync", temporary, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, "old").unwrap();
        let failed = replace(
            &path,
            false,
            |out| {
                out.write_all(b"new")?;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            },
            |_, _, error| error,
        );
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn errors_name_what_was_tried() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no/such/folder/file");
        let failed = replace(
            &missing,
            false,
            |_| Ok(()),
            |tried, path, _| (tried, path.to_owned()),
        );
        assert_eq!(failed, Err(("create", temporary_name(&missing))));
    }
}
