//! Lossless conversion between formats.

use std::path::Path;

use super::StoreFiles;
use super::format::StoreFormat;
use super::read::read_run_files;
use super::replay::write_run;
use run_model::Result;

/// Writes a copy of the run that `input` belongs to in `format`, into `dir`. The input is only read. Files of
/// that run and format must not exist in `dir` yet.
///
/// A run that was cut stays marked as cut. Returns the files and the reader's notes.
pub fn convert(
    input: impl AsRef<Path>,
    format: StoreFormat,
    dir: &Path,
) -> Result<(StoreFiles, Vec<String>)> {
    let (files, run) = read_run_files(input.as_ref())?;
    let written = write_run(&run, format, dir, &files.suffix)?;
    Ok((written, run.notes))
}
