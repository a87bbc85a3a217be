//! One run on disk: the interface of all formats. Only the writer thread calls it.
//!
//! A run in [`StoreFormat`] F with the stamp S consists of `vllm_metrics_S.F` (samples, one row each),
//! `requests_S`, `batches_S` and `events_S`, and with a source inside the engine also `steps_S` and
//! `engine_requests_S`. SQLite keeps everything in one file, Prometheus text keeps all other tables as
//! `.prom.csv`, and the text formats have a separate `.manifest`. Every format
//!
//! - is readable by its usual tools after every flush and after a kill at any moment, without repair,
//! - stores the same data: [`read_run`] returns the same [`RunData`](run_model::RunData) for every format,
//!   down to the bits of each value (except NaN payloads), and [`convert`] converts between any two,
//! - bounds the cost of a flush in long runs by splitting files into parts (`.part0000`). The reader joins
//!   them, and so does finishing unless [`StoreOptions`] keep them.
//!
//! With the feature `upload`, finished files are copied to an object store (`upload::Upload`).

#[cfg(feature = "parquet")]
pub mod arrow;
mod assemble;
mod atomic;
mod convert;
mod files;
mod foreign;
mod format;
mod manifest;
mod memory;
mod options;
#[cfg(feature = "parquet")]
mod parquet;
mod parts;
mod read;
mod replay;
mod scrape_ends;
mod select;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table;
mod tail;
mod text;
#[cfg(feature = "upload")]
pub mod upload;

use std::fs;
use std::path::{Path, PathBuf};

pub use convert::convert;
pub use format::{StoreFormat, UnknownFormat};
pub use memory::{MemoryRun, MemoryStore};
pub use options::StoreOptions;
pub use read::{RunReader, read_run};
pub use replay::{replay, write_run};
pub use scrape_ends::SCRAPE_DURATION;
pub use tail::RunTail;
pub use text::prometheus;

use self::files::RunFiles;
use run_model::{Error, Result};
use run_model::{Manifest, Record};

/// A destination for one run's records.
///
/// Called by one thread only, never by the run itself, so it may block; meanwhile the bounded queue fills,
/// then drops and counts. Implementations keep written data readable after a kill at any moment: only records
/// after the last [`Store::flush`] may be lost.
pub trait Store: Send {
    /// Writes one record. A [`Record::Series`] always precedes the first sample of its series. After an error
    /// the caller counts the record as lost and continues with the next one.
    fn write(&mut self, record: Record) -> Result<()>;

    /// Makes everything written so far durable enough to survive a kill of this process. Called about once a
    /// second, and never before a write.
    fn flush(&mut self) -> Result<()>;

    /// Writes what is left, closes all files under their final names and returns those. `manifest` is the
    /// final one, with its end time and all facts.
    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles>;
}

/// The files of one finished run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreFiles {
    /// Samples; empty when the store writes no files.
    pub samples: PathBuf,
    /// Requests, if the run had any or the format always writes them.
    pub requests: Option<PathBuf>,
    /// Batches.
    pub batches: Option<PathBuf>,
    /// Engine steps, if the run had any or the format always writes them.
    pub steps: Option<PathBuf>,
    /// Requests as reported by an engine, under the same conditions.
    pub engine_requests: Option<PathBuf>,
    /// Events.
    pub events: Option<PathBuf>,
    /// Every file written, including those above.
    pub all: Vec<PathBuf>,
    /// Total size.
    pub total_bytes: u64,
}

/// Opens the files of a new run in `dir`, which is created if missing. `manifest` is what is known at the
/// start; its stamp determines the file names. Files with that stamp must not exist yet.
pub fn open(format: StoreFormat, dir: &Path, manifest: &Manifest) -> Result<Box<dyn Store>> {
    open_with(format, dir, manifest, &StoreOptions::default())
}

/// Like [`open`], with limits for long runs.
pub fn open_with(
    format: StoreFormat,
    dir: &Path,
    manifest: &Manifest,
    options: &StoreOptions,
) -> Result<Box<dyn Store>> {
    let store = create(&RunFiles::new(dir, &manifest.stamp, format), manifest, options)?;
    Ok(Box::new(scrape_ends::ScrapeEnds::new(store)))
}

fn create(files: &RunFiles, manifest: &Manifest, options: &StoreOptions) -> Result<Box<dyn Store>> {
    if !files::is_stamp(&files.stamp) {
        return Err(Error::Store {
            target: files.dir.display().to_string(),
            reason: format!("the run's stamp `{}` is not YYYYMMDD_HHMMSS", files.stamp),
        });
    }
    if files.format == StoreFormat::Sqlite && *options != StoreOptions::default() {
        return Err(Error::config(
            "a SQLite file is not split into parts: leave out rotation and retention, or choose another format",
        ));
    }
    fs::create_dir_all(&files.dir).map_err(Error::io("create", &files.dir))?;
    for path in [
        files.samples(),
        files.table("requests"),
        files.table("batches"),
        files.table("steps"),
        files.table("engine_requests"),
        files.table("events"),
    ] {
        if path.exists() || !files::existing_parts(&path)?.is_empty() {
            return Err(Error::Store {
                target: path.display().to_string(),
                reason: "it exists already; recorded runs are never overwritten: choose another folder"
                    .into(),
            });
        }
    }
    match files.format {
        #[cfg(feature = "parquet")]
        StoreFormat::Parquet => Ok(Box::new(parquet::ParquetStore::create(files, manifest, options)?)),
        #[cfg(not(feature = "parquet"))]
        StoreFormat::Parquet => Err(without("Parquet", "parquet")),
        StoreFormat::Json | StoreFormat::Csv | StoreFormat::PrometheusText => {
            text::create(files, manifest, options)
        }
        #[cfg(feature = "sqlite")]
        StoreFormat::Sqlite => Ok(Box::new(sqlite::SqliteStore::create(files, manifest)?)),
        #[cfg(not(feature = "sqlite"))]
        StoreFormat::Sqlite => Err(without("SQLite", "sqlite")),
    }
}

#[cfg(not(all(feature = "parquet", feature = "sqlite")))]
fn without(format: &str, feature: &str) -> Error {
    Error::config(format!(
        "this build has no {format}: build with the cargo feature `{feature}`, or choose another format"
    ))
}

/// Size of all files together.
fn total_bytes(files: &[PathBuf]) -> Result<u64> {
    files
        .iter()
        .map(|path| Ok(fs::metadata(path).map_err(Error::io("stat", path))?.len()))
        .sum()
}
