//! The writer of the three text formats.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::files::RunFiles;
use super::super::format::StoreFormat;
use super::super::options::StoreOptions;
use super::super::table::Row;
use super::super::{Store, StoreFiles, total_bytes};
use super::growing::GrowingFile;
use super::{csv, json, prometheus, time_text, write_manifest};
use run_model::{
    BatchRow, EngineRequestRow, EventRow, Manifest, Record, RequestRow, SampleBatch, SeriesDef, StepRow,
};
use run_model::{Error, Result};

/// Format of the samples file, with data kept for writing further lines.
enum Samples {
    Csv(Vec<csv::SeriesText>),
    /// `None` for a series whose labels are not JSON, which would corrupt the file.
    Json(Vec<Option<json::SeriesText>>),
    Prometheus {
        header: prometheus::Header,
        lines: prometheus::Lines,
        series: Vec<Option<(Arc<SeriesDef>, String)>>,
    },
}

/// Writes one run as text.
struct TextStore {
    files: RunFiles,
    form: Samples,
    samples: GrowingFile,
    requests: GrowingFile,
    batches: GrowingFile,
    steps: GrowingFile,
    engine_requests: GrowingFile,
    events: GrowingFile,
}

/// Begins a run as JSON, CSV or Prometheus text.
pub(crate) fn create(
    files: &RunFiles,
    manifest: &Manifest,
    options: &StoreOptions,
) -> Result<Box<dyn Store>> {
    let json = files.format == StoreFormat::Json;
    let file = |path: PathBuf, header: &str| {
        let (header, separator, footer) = if json {
            ("[\n", ",\n", "\n]\n")
        } else {
            (header, "", "")
        };
        GrowingFile::new(path, header, separator, footer, options.part_limits())
    };
    let (form, header) = match files.format {
        StoreFormat::Json => (Samples::Json(Vec::new()), ""),
        StoreFormat::PrometheusText => (
            Samples::Prometheus {
                header: Default::default(),
                lines: Default::default(),
                series: Vec::new(),
            },
            "",
        ),
        _ => (Samples::Csv(Vec::new()), csv::SAMPLES_HEADER),
    };
    let mut store = TextStore {
        form,
        samples: file(files.samples(), header),
        requests: file(files.table(RequestRow::TABLE), &csv::header::<RequestRow>()),
        batches: file(files.table(BatchRow::TABLE), &csv::header::<BatchRow>()),
        steps: file(files.table(StepRow::TABLE), &csv::header::<StepRow>()),
        engine_requests: file(
            files.table(EngineRequestRow::TABLE),
            &csv::header::<EngineRequestRow>(),
        ),
        events: file(files.table(EventRow::TABLE), &csv::header::<EventRow>()),
        files: files.clone(),
    };
    write_manifest(files, manifest)?;
    store.samples.flush()?;
    Ok(Box::new(store))
}

impl TextStore {
    fn add_series(&mut self, index: usize, def: &Arc<SeriesDef>) -> Result<(), String> {
        match &mut self.form {
            Samples::Csv(series) => series.push(csv::SeriesText::new(def)),
            Samples::Json(series) => {
                let text = json::SeriesText::new(def);
                // Later series keep their index even if this one is rejected.
                series.push(None);
                series[index] = Some(text?);
            }
            Samples::Prometheus { header, series, .. } => {
                let line_start = header.declare(def, &mut self.samples.header);
                series.push(None);
                series[index] = Some((Arc::clone(def), line_start?));
            }
        }
        Ok(())
    }

    /// Returns the number of samples of rejected series.
    fn add_samples(&mut self, batch: &SampleBatch) -> usize {
        let phase = match &self.form {
            Samples::Csv(_) => csv::phase_text(&batch.phase),
            Samples::Json(_) => json::phase_text(&batch.phase),
            Samples::Prometheus { .. } => String::new(),
        };
        let mut time_ns = batch.start_ns;
        let mut time = time_text(time_ns);
        let mut refused = 0;
        for sample in &batch.samples {
            if sample.timestamp_ns != time_ns {
                time_ns = sample.timestamp_ns;
                time = time_text(time_ns);
            }
            let index = sample.series.0 as usize;
            match &mut self.form {
                Samples::Csv(series) => series[index].write(self.samples.row(), &time, sample.value, &phase),
                Samples::Json(series) => match &series[index] {
                    Some(text) => text.write(self.samples.row(), &time, sample.value, &phase),
                    None => refused += 1,
                },
                Samples::Prometheus { lines, series, .. } => match &series[index] {
                    Some((def, line_start)) => {
                        let fresh = self.samples.is_fresh();
                        let point = (time_ns, sample.value, &batch.phase);
                        lines.write(self.samples.row(), (def, line_start), point, fresh);
                    }
                    None => refused += 1,
                },
            }
        }
        refused
    }

    fn add_row<R: Row>(format: StoreFormat, file: &mut GrowingFile, row: &R) -> Result<()> {
        match format {
            StoreFormat::Json => json::write_row(file.row(), row),
            _ => csv::write_row(file.row(), row),
        }
        file.flush_if_full()
    }
}

impl Store for TextStore {
    fn write(&mut self, record: Record) -> Result<()> {
        let format = self.files.format;
        match record {
            Record::Help(family, text) => {
                if let Samples::Prometheus { header, .. } = &mut self.form {
                    header.help(&family, &text);
                }
                Ok(())
            }
            Record::Series(id, def) => self
                .add_series(id.0 as usize, &def)
                .map_err(|reason| refusal(&self.files, reason)),
            Record::Samples(batch) => {
                let refused = self.add_samples(&batch);
                self.samples.flush_if_full()?;
                if refused > 0 {
                    return Err(refusal(
                        &self.files,
                        format!("{refused} samples belong to series that were refused"),
                    ));
                }
                Ok(())
            }
            Record::Request(row) => Self::add_row(format, &mut self.requests, &row),
            Record::Batch(row) => Self::add_row(format, &mut self.batches, &row),
            Record::Step(row) => Self::add_row(format, &mut self.steps, &row),
            Record::EngineRequest(row) => Self::add_row(format, &mut self.engine_requests, &row),
            Record::Event(row) => Self::add_row(format, &mut self.events, &row),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.samples.flush()?;
        for table in [
            &mut self.requests,
            &mut self.batches,
            &mut self.steps,
            &mut self.engine_requests,
            &mut self.events,
        ] {
            if table.any() {
                table.flush()?;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles> {
        let requests = self.requests.finish()?;
        let batches = self.batches.finish()?;
        let steps = finish_if_any(self.steps)?;
        let engine_requests = finish_if_any(self.engine_requests)?;
        let events = self.events.finish()?;
        let samples = self.samples.finish()?;
        let first = |files: &[PathBuf]| files.first().cloned();
        let mut files = StoreFiles {
            samples: first(&samples).unwrap_or_default(),
            requests: first(&requests),
            batches: first(&batches),
            steps: first(&steps),
            engine_requests: first(&engine_requests),
            events: first(&events),
            // The manifest last, since it marks the end of the run.
            all: [
                samples,
                requests,
                batches,
                steps,
                engine_requests,
                events,
                vec![write_manifest(&self.files, manifest)?],
            ]
            .concat(),
            total_bytes: 0,
        };
        files.total_bytes = total_bytes(&files.all)?;
        Ok(files)
    }
}

/// Rare tables get no file without rows.
fn finish_if_any(file: GrowingFile) -> Result<Vec<PathBuf>> {
    if file.any() { file.finish() } else { Ok(Vec::new()) }
}

fn refusal(files: &RunFiles, reason: String) -> Error {
    Error::Store {
        target: files.samples().display().to_string(),
        reason,
    }
}
