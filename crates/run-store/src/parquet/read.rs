//! Reads a run's Parquet files: joins parts, and skips a live file whose rows are already in a part.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::basic::LogicalType;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::super::assemble::{Assembler, PhaseId};
use super::super::files::{RunFiles, existing_parts};
use super::super::manifest::{self, FIRST_PART_KEY, MANIFEST_KEY, PART_KEY};
use super::super::select::Selection;
use super::super::table::{Cell, Cells, Column, Kind, Row};
use run_model::{BatchRow, EngineRequestRow, EventRow, Manifest, MetricType, RequestRow, SeriesDef, StepRow};
use run_model::{Error, Result};

/// Reads every table of the run into `run`.
pub(crate) fn read(files: &RunFiles, run: &mut Assembler) -> Result<()> {
    let wanted = run.selection.clone();
    let opened = open_table(&files.samples(), run, Some(&wanted))?;
    if opened.is_empty() {
        run.notes.push(format!(
            "the samples file {} is missing",
            files.samples().display()
        ));
    }
    for file in opened {
        if file.manifest.is_some() {
            run.manifest = file.manifest;
        }
        for batch in file.reader {
            let batch = batch?;
            samples(&batch, run).map_err(|reason| format_error(&file.path, &reason))?;
        }
    }
    run.requests = rows::<RequestRow>(files, run)?;
    run.batches = rows::<BatchRow>(files, run)?;
    run.steps = rows::<StepRow>(files, run)?;
    run.engine_requests = rows::<EngineRequestRow>(files, run)?;
    run.events = rows::<EventRow>(files, run)?;
    Ok(())
}

fn format_error(path: &Path, reason: &str) -> Error {
    Error::Format {
        path: path.to_path_buf(),
        format: "Parquet",
        reason: reason.to_owned(),
    }
}

struct Opened {
    path: PathBuf,
    reader: Batches,
    manifest: Option<Manifest>,
    /// Set while the run is in progress: the part number of the file, and the first part kept.
    part: Option<(u32, u32)>,
}

/// The batches of one file. Ends with the first error.
struct Batches {
    path: PathBuf,
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let mut reader = self.reader.take()?;
        let path = &self.path;
        let step = guarded(path, || {
            let batch = reader.next().transpose();
            Ok((batch.map_err(|e| format_error(path, &e.to_string()))?, reader))
        });
        match step {
            Ok((batch, reader)) => {
                self.reader = Some(reader);
                batch.map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Runs one step of reading and catches panics, which the Parquet library raises on some damage.
fn guarded<T>(path: &Path, step: impl FnOnce() -> Result<T>) -> Result<T> {
    // The state of the step is dropped with it, so a partial change is never visible.
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
        Err(format_error(
            path,
            "it is damaged in a way that the Parquet library gives up on",
        ))
    })
}

fn open(path: &Path, wanted: Option<&Selection>) -> Result<Opened> {
    guarded(path, || open_unguarded(path, wanted))
}

fn open_unguarded(path: &Path, wanted: Option<&Selection>) -> Result<Opened> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| format_error(path, &e.to_string()))?;
    let pairs = builder
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .cloned()
        .unwrap_or_default();
    let get = |key: &str| {
        pairs
            .iter()
            .find(|pair| pair.key == key)
            .and_then(|pair| pair.value.as_deref())
    };
    let manifest = get(MANIFEST_KEY)
        .map(manifest::from_json)
        .transpose()
        .map_err(|error| format_error(path, &format!("its manifest is damaged: {error}")))?;
    let number = |key: &str| get(key).and_then(|text| text.parse::<u32>().ok());
    let part = number(PART_KEY).map(|part| (part, number(FIRST_PART_KEY).unwrap_or(0)));
    let builder = match wanted {
        Some(wanted) => narrowed(builder, wanted),
        None => builder,
    };
    let reader = builder
        .with_batch_size(16 * 1024)
        .build()
        .map_err(|e| format_error(path, &e.to_string()))?;
    Ok(Opened {
        path: path.to_path_buf(),
        reader: Batches {
            path: path.to_path_buf(),
            reader: Some(reader),
        },
        manifest,
        part,
    })
}

/// Skips row groups outside of the time range, using their statistics, and rows of unselected metrics. Files
/// of other writers may lack either; they are read completely and filtered later.
fn narrowed(
    builder: ParquetRecordBatchReaderBuilder<File>,
    wanted: &Selection,
) -> ParquetRecordBatchReaderBuilder<File> {
    let metadata = Arc::clone(builder.metadata());
    let groups = metadata.row_groups().iter().enumerate();
    let inside = groups.filter(|(_, group)| {
        time_bounds(group).is_none_or(|(first_ns, last_ns)| wanted.overlaps(first_ns, last_ns))
    });
    let inside: Vec<usize> = inside.map(|(index, _)| index).collect();
    let builder = builder.with_row_groups(inside);
    let schema = builder.parquet_schema();
    if wanted.has_every_metric()
        || !schema
            .columns()
            .iter()
            .any(|c| c.path().string() == "metric_name")
    {
        return builder;
    }
    let mask = ProjectionMask::columns(schema, ["metric_name"]);
    let wanted = wanted.clone();
    let predicate = ArrowPredicateFn::new(mask, move |batch: RecordBatch| {
        let names = batch.column(0).as_string_opt::<i32>();
        let names = names.ok_or_else(|| ArrowError::CastError("metric_name is not text".into()))?;
        let mut last: Option<(&str, bool)> = None;
        let keep = names.iter().map(|name| {
            let name = name.unwrap_or_default();
            // Rows of one series are adjacent.
            match last {
                Some((before, keep)) if before == name => Some(keep),
                _ => {
                    let keep = wanted.has_metric(name);
                    last = Some((name, keep));
                    Some(keep)
                }
            }
        });
        Ok(BooleanArray::from_iter(keep))
    });
    builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)]))
}

/// First and last time of a row group, in nanoseconds; `None` if its writer did not store them.
fn time_bounds(group: &RowGroupMetaData) -> Option<(i64, i64)> {
    let column = group
        .columns()
        .iter()
        .find(|column| column.column_path().string() == "timestamp")?;
    // Our files use nanoseconds; others are not pruned.
    match column.column_descr().logical_type_ref()? {
        LogicalType::Timestamp(time) if time.unit == parquet::basic::TimeUnit::NANOS => {}
        _ => return None,
    }
    match column.statistics()? {
        Statistics::Int64(bounds) => Some((*bounds.min_opt()?, *bounds.max_opt()?)),
        _ => None,
    }
}

/// Newest time in the samples' files, from their metadata; `None` if a row group does not have it.
pub(crate) fn last_sample_ns(files: &RunFiles) -> Result<Option<i64>> {
    let path = files.samples();
    let parts = existing_parts(&path)?.into_iter().map(|(_, part)| part);
    let mut newest = None;
    for path in parts.chain(path.exists().then_some(path.clone())) {
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let metadata = guarded(&path, || {
            ParquetRecordBatchReaderBuilder::try_new(file)
                .map(|builder| Arc::clone(builder.metadata()))
                .map_err(|error| format_error(&path, &error.to_string()))
        })?;
        for group in metadata.row_groups() {
            match time_bounds(group) {
                Some((_, last_ns)) => newest = newest.max(Some(last_ns)),
                None => return Ok(None),
            }
        }
    }
    Ok(newest)
}

/// The files whose rows make up one table, oldest first.
fn open_table(path: &Path, run: &mut Assembler, wanted: Option<&Selection>) -> Result<Vec<Opened>> {
    let main = if path.exists() {
        Some(open(path, wanted)?)
    } else {
        None
    };
    let numbers = match &main {
        // A finished file contains everything; remaining parts are left from a kill during their removal.
        Some(Opened { part: None, .. }) => return Ok(main.into_iter().collect()),
        Some(Opened { part: Some(part), .. }) => Some(*part),
        None => None,
    };
    let parts = existing_parts(path)?;
    if let Some((_, first)) = numbers.filter(|(_, first)| *first > 0) {
        run.notes.push(format!(
            "retention removed {first} older part(s) of {}",
            path.display()
        ));
    }
    let mut opened = Vec::with_capacity(parts.len() + 1);
    let mut held = false;
    let mut expected = numbers.map_or(0, |(_, first)| first);
    for (number, part) in parts {
        if number > expected {
            run.notes.push(format!(
                "part(s) {expected} to {} of {} are missing",
                number - 1,
                path.display()
            ));
        }
        expected = expected.max(number + 1);
        held |= numbers.is_some_and(|(current, _)| current == number);
        opened.push(open(&part, wanted)?);
    }
    // A kill right after sealing: the live file still has the new part's rows.
    if !held {
        opened.extend(main);
    }
    Ok(opened)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, String> {
    batch
        .column_by_name(name)
        .ok_or_else(|| format!("it has no column {name}"))
}

/// Text columns that are missing in a foreign file read as empty.
fn texts(batch: &RecordBatch, name: &str) -> Result<Option<arrow_array::StringArray>, String> {
    match batch.column_by_name(name) {
        None => Ok(None),
        Some(column) => column
            .as_string_opt::<i32>()
            .cloned()
            .map(Some)
            .ok_or_else(|| format!("column {name} is {} instead of text", column.data_type())),
    }
}

/// Nanoseconds of a timestamp column of any unit.
fn times(column: &ArrayRef, name: &str) -> Result<Vec<Option<i64>>, String> {
    fn scaled<T: arrow_array::types::ArrowTimestampType>(column: &ArrayRef, factor: i64) -> Vec<Option<i64>> {
        let times = column.as_primitive::<T>();
        times
            .iter()
            .map(|time| time.and_then(|time| time.checked_mul(factor)))
            .collect()
    }
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => scaled::<TimestampNanosecondType>(column, 1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => scaled::<TimestampMicrosecondType>(column, 1_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            scaled::<TimestampMillisecondType>(column, 1_000_000)
        }
        other => return Err(format!("column {name} is {other} instead of a timestamp")),
    })
}

fn samples(batch: &RecordBatch, run: &mut Assembler) -> Result<(), String> {
    const TEXTS: [&str; 7] = [
        "metric_name",
        "labels",
        "metric_type",
        "unit",
        "source",
        "endpoint_url",
        "phase",
    ];
    let times = times(column(batch, "timestamp")?, "timestamp")?;
    let values = column(batch, "value")?
        .as_primitive_opt::<Float64Type>()
        .ok_or("column value is not a double")?;
    column(batch, "metric_name")?;
    let mut columns = Vec::with_capacity(TEXTS.len());
    for name in TEXTS {
        columns.push(texts(batch, name)?);
    }
    let text = |index: usize, row: usize| -> &str {
        match &columns[index] {
            Some(column) if column.is_valid(row) => column.value(row),
            _ => "",
        }
    };
    let mut previous: Option<(usize, usize, PhaseId)> = None;
    for (row, time) in times.iter().enumerate() {
        let time = time.ok_or("column timestamp has an empty cell")?;
        // Rows of one series are adjacent: the lookup is needed once per series, not once per row.
        let same = |index: usize, other: usize| text(index, row) == text(index, other);
        let (series, phase) = match previous {
            Some((before, series, phase)) if (0..6).all(|index| same(index, before)) => (
                series,
                if same(6, before) {
                    phase
                } else {
                    run.phase(text(6, row))
                },
            ),
            _ => {
                let def = SeriesDef {
                    metric_name: text(0, row).into(),
                    labels: text(1, row).into(),
                    metric_type: MetricType::from_text(text(2, row)).unwrap_or(MetricType::Unknown),
                    unit: text(3, row).into(),
                    source: text(4, row).into(),
                    endpoint_url: text(5, row).into(),
                };
                (run.series(def), run.phase(text(6, row)))
            }
        };
        previous = Some((row, series, phase));
        if values.is_null(row) {
            return Err("column value has an empty cell".into());
        }
        run.push(series, time, values.value(row), phase);
    }
    Ok(())
}

/// Returns every row of one of the other tables; a missing file means no rows.
fn rows<R: Row>(files: &RunFiles, run: &mut Assembler) -> Result<Vec<R>> {
    let mut rows = Vec::new();
    for file in open_table(&files.table(R::TABLE), run, None)? {
        for batch in file.reader {
            let batch = batch?;
            decode(&batch, &mut rows).map_err(|reason| format_error(&file.path, &reason))?;
        }
    }
    Ok(rows)
}

enum Decoded {
    Times(Vec<Option<i64>>),
    Array(ArrayRef),
    Missing,
}

fn decode<R: Row>(batch: &RecordBatch, rows: &mut Vec<R>) -> Result<(), String> {
    let mut columns = Vec::with_capacity(R::COLUMNS.len());
    for wanted in R::COLUMNS {
        columns.push(match (batch.column_by_name(wanted.name), wanted) {
            (
                None,
                Column {
                    required: true, name, ..
                },
            ) => return Err(format!("it has no column {name}")),
            (None, _) => Decoded::Missing,
            (
                Some(array),
                Column {
                    kind: Kind::Time,
                    name,
                    ..
                },
            ) => Decoded::Times(times(array, name)?),
            (Some(array), Column { kind, name, .. }) => {
                let fits = match kind {
                    Kind::Nanos => array.as_primitive_opt::<Int64Type>().is_some(),
                    Kind::Count => array.as_primitive_opt::<UInt64Type>().is_some(),
                    Kind::Real => array.as_primitive_opt::<Float64Type>().is_some(),
                    Kind::Text => array.as_string_opt::<i32>().is_some(),
                    Kind::Time => true,
                };
                if !fits {
                    return Err(format!("column {name} is {}", array.data_type()));
                }
                Decoded::Array(array.clone())
            }
        });
    }
    for row in 0..batch.num_rows() {
        let cells = columns
            .iter()
            .zip(R::COLUMNS)
            .map(|(decoded, column)| match decoded {
                Decoded::Missing => Cell::Absent,
                Decoded::Times(times) => times[row].map_or(Cell::Absent, Cell::Time),
                Decoded::Array(array) if array.is_null(row) => Cell::Absent,
                Decoded::Array(array) => match column.kind {
                    Kind::Nanos | Kind::Time => Cell::Nanos(array.as_primitive::<Int64Type>().value(row)),
                    Kind::Count => Cell::Count(array.as_primitive::<UInt64Type>().value(row)),
                    Kind::Real => Cell::Real(array.as_primitive::<Float64Type>().value(row)),
                    Kind::Text => Cell::Text(array.as_string::<i32>().value(row).into()),
                },
            });
        rows.push(R::from_cells(&mut Cells::new(cells.collect(), R::COLUMNS))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::read_run;
    use run_model::Error;

    /// One flipped byte in the levels of a column, on which the Parquet library panics.
    const DAMAGED: &[u8] = include_bytes!("damaged-events.parquet");

    #[test]
    fn damage_that_the_library_panics_at_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events_20260101_000000.parquet");
        std::fs::write(&path, DAMAGED).unwrap();
        let error = read_run(&path).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Format {
                    format: "Parquet",
                    ..
                }
            ),
            "{error}"
        );
    }
}
