//! Writes a run in memory to files: the second half of every conversion.

use std::path::Path;
use std::sync::Arc;

use super::files::RunFiles;
use super::format::StoreFormat;
use super::options::StoreOptions;
use super::{Store, StoreFiles, create};
use run_model::{Error, Result};
use run_model::{HelpTexts, Record, RunData, Sample, SampleBatch, SeriesId};

/// Writes `run` into `dir` in `format`. `suffix` goes between stamp and extension: empty for raw rows,
/// `_processed` for derived ones. Existing files are an error. Other tables are kept only if they have rows.
pub fn write_run(run: &RunData, format: StoreFormat, dir: &Path, suffix: &str) -> Result<StoreFiles> {
    let mut files = RunFiles::new(dir, &run.manifest.stamp, format);
    suffix.clone_into(&mut files.suffix);
    let mut store = create(&files, &run.manifest, &StoreOptions::default())?;
    replay(run, store.as_mut())?;
    let mut written = store.finish(&run.manifest)?;
    for (is_empty, slot) in [
        (run.requests.is_empty(), &mut written.requests),
        (run.batches.is_empty(), &mut written.batches),
        (run.steps.is_empty(), &mut written.steps),
        (run.engine_requests.is_empty(), &mut written.engine_requests),
        (run.events.is_empty(), &mut written.events),
    ] {
        // A file that holds every table must stay.
        if is_empty && let Some(path) = slot.take_if(|path| *path != written.samples) {
            let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            written.total_bytes = written.total_bytes.saturating_sub(bytes);
            written.all.retain(|other| *other != path);
        }
    }
    Ok(written)
}

/// Writes every row of `run` to `store`, flushing occasionally like a running session.
pub fn replay(run: &RunData, store: &mut dyn Store) -> Result<()> {
    for (family, text) in HelpTexts::from_facts(&run.manifest.facts).iter() {
        store.write(Record::Help(Arc::clone(family), Arc::clone(text)))?;
    }
    let mut row_count = 0;
    for (index, series) in run.series.iter().enumerate() {
        let id = SeriesId(u32::try_from(index).expect("a run has fewer than four billion series"));
        store.write(Record::Series(id, Arc::clone(&series.def)))?;
        let ends = series
            .phases
            .iter()
            .skip(1)
            .map(|phase| phase.0)
            .chain([series.values.len()]);
        for ((start, phase), end) in series.phases.iter().zip(ends) {
            let samples = (*start..end).map(|at| Sample {
                series: id,
                timestamp_ns: series.timestamps_ns[at],
                value: series.values[at],
            });
            let start_ns = series.timestamps_ns.get(*start).copied().unwrap_or_default();
            row_count += end - start;
            store.write(Record::Samples(Arc::new(SampleBatch {
                start_ns,
                end_ns: start_ns,
                phase: Arc::clone(phase),
                samples: samples.collect(),
            })))?;
        }
        if row_count >= 64 * 1024 {
            row_count = 0;
            store.flush()?;
        }
    }
    for row in rows(run) {
        store.write(row)?;
    }
    Ok(())
}

/// Every row of `run` except series and samples.
pub(crate) fn rows(run: &RunData) -> impl Iterator<Item = Record> {
    let requests = run.requests.iter().cloned().map(Record::Request);
    let batches = run.batches.iter().cloned().map(Record::Batch);
    let steps = run.steps.iter().cloned().map(Record::Step);
    let engine_requests = run.engine_requests.iter().cloned().map(Record::EngineRequest);
    let events = run.events.iter().cloned().map(Record::Event);
    requests
        .chain(batches)
        .chain(steps)
        .chain(engine_requests)
        .chain(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_run;
    use run_model::{Manifest, MetricType, SeriesData, SeriesDef};

    #[test]
    fn a_run_of_samples_alone_is_kept_in_every_format() {
        let run = RunData {
            manifest: Manifest {
                stamp: "20260101_000000".into(),
                ..Manifest::default()
            },
            series: vec![SeriesData {
                def: Arc::new(SeriesDef {
                    metric_name: "a".into(),
                    labels: "{}".into(),
                    metric_type: MetricType::Gauge,
                    unit: "".into(),
                    source: "prometheus".into(),
                    endpoint_url: "".into(),
                }),
                timestamps_ns: vec![1_000_000_000],
                values: vec![7.0],
                phases: vec![(0, "".into())],
            }],
            ..RunData::default()
        };
        for &format in StoreFormat::ALL {
            let dir = tempfile::tempdir().unwrap();
            let written = write_run(&run, format, dir.path(), "").unwrap();
            assert_eq!(read_run(&written.samples).unwrap().series, run.series, "{format}");
        }
    }
}
