//! Any file of a run back into memory.

use std::path::Path;

use super::assemble::Assembler;
use super::files::{self, RunFiles};
use super::format::StoreFormat;
use super::{parquet, text};
use crate::error::Result;
use crate::model::RunData;

/// Reads the run that `path` belongs to: any of its files, the folder that holds it (the newest run there), or that
/// folder followed by the run's stamp. The files beside it are joined; what is missing, cut or recovered stands in
/// [`RunData::notes`].
pub fn read_run(path: impl AsRef<Path>) -> Result<RunData> {
    read_run_files(path.as_ref()).map(|(_, run)| run)
}

/// [`read_run`], and which files it was.
pub(crate) fn read_run_files(path: &Path) -> Result<(RunFiles, RunData)> {
    let (files, notes) = files::locate(path)?;
    let mut run = Assembler::default();
    run.notes = notes;
    read_files(&files, &mut run)?;
    let mut run = run.finish();
    if run.manifest.stamp.is_empty() {
        run.manifest.stamp.clone_from(&files.stamp);
    }
    Ok((files, run))
}

fn read_files(files: &RunFiles, run: &mut Assembler) -> Result<()> {
    match files.format {
        StoreFormat::Parquet => parquet::read(files, run),
        StoreFormat::Json | StoreFormat::Csv | StoreFormat::PrometheusText => text::read(files, run),
        #[cfg(feature = "sqlite")]
        StoreFormat::Sqlite => super::sqlite::read(files, run),
        #[cfg(not(feature = "sqlite"))]
        StoreFormat::Sqlite => Err(super::without_sqlite()),
    }
}
