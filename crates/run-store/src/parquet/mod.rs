//! Parquet: one file each for samples, requests, batches, steps, the engine's requests and events, all
//! growing during the run. Runs without a source inside the engine have no files of steps.

pub(crate) mod encode;
mod live;
mod read;

use std::path::PathBuf;

use self::encode::{SampleRows, TableRows};
use self::live::LiveTable;
use super::files::RunFiles;
use super::options::StoreOptions;
use super::table::Row;
use super::{Store, StoreFiles, manifest, total_bytes};
use run_model::Result;
use run_model::{BatchRow, EngineRequestRow, EventRow, Manifest, Record, RequestRow, StepRow};

pub(crate) use read::{last_sample_ns, read};

/// Writes one run as Parquet.
#[derive(Debug)]
pub(crate) struct ParquetStore {
    manifest: String,
    samples: LiveTable<SampleRows>,
    requests: LiveTable<TableRows<RequestRow>>,
    batches: LiveTable<TableRows<BatchRow>>,
    steps: LiveTable<TableRows<StepRow>>,
    engine_requests: LiveTable<TableRows<EngineRequestRow>>,
    events: LiveTable<TableRows<EventRow>>,
}

impl ParquetStore {
    pub(crate) fn create(files: &RunFiles, manifest: &Manifest, options: &StoreOptions) -> Result<Self> {
        fn table<R: Row>(files: &RunFiles, options: &StoreOptions) -> Result<LiveTable<TableRows<R>>> {
            LiveTable::new(
                R::TABLE,
                files.table(R::TABLE),
                TableRows::default(),
                options.part_limits(),
            )
        }
        let mut store = Self {
            manifest: manifest::to_json(manifest),
            samples: LiveTable::new(
                "samples",
                files.samples(),
                SampleRows::default(),
                options.part_limits(),
            )?,
            requests: table(files, options)?,
            batches: table(files, options)?,
            steps: table(files, options)?,
            engine_requests: table(files, options)?,
            events: table(files, options)?,
        };
        // Creates the samples file at the start, so that the folder always shows a run.
        store.samples.flush(&store.manifest)?;
        Ok(store)
    }
}

impl Store for ParquetStore {
    fn write(&mut self, record: Record) -> Result<()> {
        match record {
            // In the manifest.
            Record::Help(..) => Ok(()),
            Record::Series(id, def) => {
                debug_assert_eq!(
                    id.0 as usize,
                    self.samples.rows.series_count(),
                    "series ids are dense"
                );
                self.samples.rows.add_series(&def);
                Ok(())
            }
            Record::Samples(batch) => {
                let phase = self.samples.rows.phase(&batch.phase);
                for sample in &batch.samples {
                    self.samples
                        .rows
                        .push(sample.series.0, sample.timestamp_ns, sample.value, phase);
                }
                self.samples.seal_if_full(&self.manifest)
            }
            Record::Request(row) => {
                self.requests.rows.push(row);
                self.requests.seal_if_full(&self.manifest)
            }
            Record::Batch(row) => {
                self.batches.rows.push(row);
                self.batches.seal_if_full(&self.manifest)
            }
            Record::Step(row) => {
                self.steps.rows.push(row);
                self.steps.seal_if_full(&self.manifest)
            }
            Record::EngineRequest(row) => {
                self.engine_requests.rows.push(row);
                self.engine_requests.seal_if_full(&self.manifest)
            }
            Record::Event(row) => {
                self.events.rows.push(row);
                self.events.seal_if_full(&self.manifest)
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.samples.flush(&self.manifest)?;
        flush_table(&mut self.requests, &self.manifest)?;
        flush_table(&mut self.batches, &self.manifest)?;
        flush_table(&mut self.steps, &self.manifest)?;
        flush_table(&mut self.engine_requests, &self.manifest)?;
        flush_table(&mut self.events, &self.manifest)
    }

    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles> {
        let manifest = manifest::to_json(manifest);
        // Samples last: their file has the end of the run, which counts as cut until all files are written.
        let requests = self.requests.finish(&manifest)?;
        let batches = self.batches.finish(&manifest)?;
        let steps = finish_if_any(self.steps, &manifest)?;
        let engine_requests = finish_if_any(self.engine_requests, &manifest)?;
        let events = self.events.finish(&manifest)?;
        let samples = self.samples.finish(&manifest)?;
        let first = |files: &[PathBuf]| files.first().cloned();
        let mut files = StoreFiles {
            samples: first(&samples).unwrap_or_default(),
            requests: first(&requests),
            batches: first(&batches),
            steps: first(&steps),
            engine_requests: first(&engine_requests),
            events: first(&events),
            all: [samples, requests, batches, steps, engine_requests, events].concat(),
            total_bytes: 0,
        };
        files.total_bytes = total_bytes(&files.all)?;
        Ok(files)
    }
}

/// Rare tables get no file without rows.
fn finish_if_any<R: Row>(table: LiveTable<TableRows<R>>, manifest: &str) -> Result<Vec<PathBuf>> {
    if table.any() {
        table.finish(manifest)
    } else {
        Ok(Vec::new())
    }
}

/// A table without rows has no file until the run ends.
fn flush_table<R: Row>(table: &mut LiveTable<TableRows<R>>, manifest: &str) -> Result<()> {
    if table.any() {
        table.flush(manifest)
    } else {
        Ok(())
    }
}
