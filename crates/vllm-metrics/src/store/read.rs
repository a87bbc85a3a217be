//! Any file of a run back into memory.

use std::path::Path;

use super::assemble::Assembler;
use super::files::{self, RunFiles};
use super::format::StoreFormat;
use super::parquet;
use crate::error::{Error, Result};
use crate::model::RunData;

/// Reads the run that `path` belongs to: any of its files, the folder that holds it (the newest run there), or that
/// folder followed by the run's stamp. The files beside it are joined; what is missing, cut or recovered stands in
/// [`RunData::notes`].
pub fn read_run(path: impl AsRef<Path>) -> Result<RunData> {
    let (files, notes) = files::locate(path.as_ref())?;
    let mut run = Assembler::default();
    run.notes = notes;
    read_files(&files, &mut run)?;
    let mut run = run.finish();
    if run.manifest.stamp.is_empty() {
        run.manifest.stamp = files.stamp;
    }
    Ok(run)
}

fn read_files(files: &RunFiles, run: &mut Assembler) -> Result<()> {
    match files.format {
        StoreFormat::Parquet => parquet::read(files, run),
        other => Err(Error::config(format!(
            "store format {other} cannot be read by this build"
        ))),
    }
}
