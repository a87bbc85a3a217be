//! Files of this library: written to a temporary file and renamed.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a whole file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |out| out.write_all(bytes))
}

/// Writes a file as a stream.
pub(crate) fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<()> {
    atomic_file::replace(path, true, fill, |_, _, source| source).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}
