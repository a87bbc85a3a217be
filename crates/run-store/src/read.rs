//! Reads a run from any of its files: all of it, or selected metrics and times.

use std::ops::{Bound, RangeBounds};
use std::path::Path;

use run_model::{Result, RunData};

use super::assemble::Assembler;
use super::files::{self, RunFiles};
use super::foreign;
use super::format::StoreFormat;
use super::select::Selection;
use super::text;

/// Reads the run that `path` belongs to: any of its files, its folder (the newest run in it), or that folder
/// followed by the run's stamp. All files of the run are joined; [`RunData::notes`] lists what is missing,
/// cut or recovered.
pub fn read_run(path: impl AsRef<Path>) -> Result<RunData> {
    read_run_files(path.as_ref()).map(|(_, run)| run)
}

/// Like [`read_run`], and also returns the files.
pub(crate) fn read_run_files(path: &Path) -> Result<(RunFiles, RunData)> {
    let (files, notes) = files::locate(path)?;
    let run = read_selected(&files, notes, Selection::default())?;
    Ok((files, run))
}

/// Reads a part of a run: some metrics, a time range, or new data since the last read.
///
/// Only selected data is kept in memory. Parquet row groups outside of the range are not read, and in the
/// others unselected rows are skipped after reading only the columns needed to decide.
///
/// ```no_run
/// use run_store::RunReader;
///
/// // The last minute of the queue, of a run that may still be going on.
/// let reader = RunReader::open("metrics_output")?.metrics(["vllm:num_requests_*"]);
/// let newest_ns = reader.last_sample_ns()?.unwrap_or_default();
/// let run = reader.range(newest_ns - 60_000_000_000..).read()?;
/// for series in &run.series {
///     println!("{} {:?}", series.def.metric_name, series.values.last());
/// }
/// # Ok::<(), run_model::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RunReader {
    files: RunFiles,
    notes: Vec<String>,
    selection: Selection,
}

impl RunReader {
    /// Finds the run that `path` belongs to, as [`read_run`] does. Nothing is read yet.
    ///
    /// # Errors
    /// If there is no run at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (files, notes) = files::locate(path.as_ref())?;
        Ok(Self {
            files,
            notes,
            selection: Selection::default(),
        })
    }

    /// Reads only samples of these metrics. A trailing `*` matches any suffix.
    #[must_use]
    pub fn metrics(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        self.metrics_by(move |metric| {
            names.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => metric.starts_with(start),
                None => metric == name,
            })
        })
    }

    /// Reads only samples of metrics whose name `accepts` accepts.
    #[must_use]
    pub fn metrics_by(mut self, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.selection.metrics(accepts);
        self
    }

    /// Reads only this time range, in nanoseconds since the Unix epoch: samples in it, and
    /// requests, batches, engine steps, engine requests and events that overlap it.
    #[must_use]
    pub fn range(mut self, range: impl RangeBounds<i64>) -> Self {
        self.selection.from_ns = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(from) => from.saturating_add(1),
            Bound::Unbounded => i64::MIN,
        };
        self.selection.to_ns = match range.end_bound() {
            Bound::Included(to) => *to,
            Bound::Excluded(to) => to.saturating_sub(1),
            Bound::Unbounded => i64::MAX,
        };
        self
    }

    /// Reads the selected data from disk. Each call reads the files again, so that a live run may have grown.
    /// [`RunReader::metrics`] restricts series only; the time range restricts every table. A missing or cut file is no
    /// error: [`RunData::notes`] reports it.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged beyond recovery, or this build cannot read the format.
    pub fn read(&self) -> Result<RunData> {
        read_selected(&self.files, self.notes.clone(), self.selection.clone())
    }

    /// Returns the time of the newest sample on disk, if any. For Parquet, only metadata is read.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    pub fn last_sample_ns(&self) -> Result<Option<i64>> {
        #[cfg(feature = "parquet")]
        if self.files.format == StoreFormat::Parquet
            && let Some(last_ns) = super::parquet::last_sample_ns(&self.files)?
        {
            return Ok(Some(last_ns));
        }
        let run = read_selected(&self.files, Vec::new(), Selection::default())?;
        Ok(run
            .series
            .iter()
            .filter_map(|s| s.timestamps_ns.last().copied())
            .max())
    }

    /// Follows a run in progress: each [`super::RunTail::next_part`] returns what was added since the last.
    pub fn tail(self) -> super::RunTail {
        super::RunTail::new(self)
    }

    /// Restricts samples to those from this time on; the end of the range is unchanged.
    pub(crate) fn no_earlier_than(mut self, from_ns: i64) -> Self {
        self.selection.from_ns = self.selection.from_ns.max(from_ns);
        self
    }
}

fn read_selected(files: &RunFiles, notes: Vec<String>, selection: Selection) -> Result<RunData> {
    let mut run = Assembler::selecting(selection);
    run.notes = notes;
    read_files(files, &mut run)?;
    let mut run = run.finish();
    if run.manifest.stamp.is_empty() {
        run.manifest.stamp.clone_from(&files.stamp);
    }
    Ok(run)
}

fn read_files(files: &RunFiles, run: &mut Assembler) -> Result<()> {
    if let Some(path) = &files.foreign {
        return foreign::read(path, files.format, run);
    }
    match files.format {
        #[cfg(feature = "parquet")]
        StoreFormat::Parquet => super::parquet::read(files, run),
        #[cfg(not(feature = "parquet"))]
        StoreFormat::Parquet => Err(super::without("Parquet", "parquet")),
        StoreFormat::Json | StoreFormat::Csv | StoreFormat::PrometheusText => text::read(files, run),
        #[cfg(feature = "sqlite")]
        StoreFormat::Sqlite => super::sqlite::read(files, run),
        #[cfg(not(feature = "sqlite"))]
        StoreFormat::Sqlite => Err(super::without("SQLite", "sqlite")),
    }
}
