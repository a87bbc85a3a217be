//! From any format to any other, without loss.

use std::path::Path;

use super::StoreFiles;
use super::format::StoreFormat;
use super::read::read_run_files;
use super::replay::write_run;
use run_model::Result;

/// Writes the run that `input` belongs to once more in `format`, into `dir`. The input is only read. Files of that
/// run and format must not exist in `dir` yet.
///
/// A run that was cut stays marked as cut. What the reader had to say about it comes back beside the files.
pub fn convert(
    input: impl AsRef<Path>,
    format: StoreFormat,
    dir: &Path,
) -> Result<(StoreFiles, Vec<String>)> {
    let (files, run) = read_run_files(input.as_ref())?;
    let written = write_run(&run, format, dir, &files.suffix)?;
    Ok((written, run.notes))
}
