//! One table's Parquet file while it grows: readable after every flush, at a bounded cost per flush.
//!
//! Each flush encodes the new rows as a *segment*, a row group of the file that later flushes only copy (of
//! tables with many columns, only once there are [`Rows::KEPT_ROWS`] new rows). [`MERGE_SEGMENTS`] segments of
//! one level become one of the next, so that the file has few row groups and each row is encoded a few times
//! only. When the file holds [`PartLimits::rows`] rows or exceeds its size or age, it is *sealed*: rewritten
//! under a part's name, after which the live file starts empty. Each version of the live file is written under
//! a temporary name and then renamed, so a kill at any moment leaves a complete file. [`LiveTable::finish`]
//! joins the parts.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::ChunkReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::TypePtr;

use super::super::atomic::replace_file;
use super::super::manifest::{FIRST_PART_KEY, MANIFEST_KEY, PART_KEY, TABLE_KEY};
use super::super::options::PartLimits;
use super::super::parts::Parts;
use super::encode::{Effort, Encoded, Rows};
use run_model::{Error, Result};

/// Rows of a segment of the second level.
const MERGED_ROWS: usize = 4096;
/// Number of segments of one level that are re-encoded as one of the next.
const MERGE_SEGMENTS: usize = 8;

/// A row group.
#[derive(Debug)]
struct Segment {
    /// Files that together hold its columns.
    encoded: Vec<Arc<Encoded>>,
    rows: Range<usize>,
    /// How often its rows have been merged, or would have been to reach its length.
    level: u32,
}

impl Segment {
    fn len_bytes(&self) -> u64 {
        self.encoded
            .iter()
            .map(|encoded| encoded.bytes.len() as u64)
            .sum()
    }

    /// Its columns in the order of `schema`, each with the file that holds it.
    fn columns(&self, schema: &TypePtr) -> Vec<(&Bytes, &ColumnChunkMetaData)> {
        let of = |field: &TypePtr| {
            self.encoded.iter().find_map(|encoded| {
                let columns = encoded.metadata.row_groups().first()?.columns();
                let column = columns.iter().find(|c| c.column_descr().name() == field.name())?;
                Some((&encoded.bytes, column))
            })
        };
        schema.get_fields().iter().filter_map(of).collect()
    }
}

/// A growing table and its file.
#[derive(Debug)]
pub(crate) struct LiveTable<R> {
    pub(crate) rows: R,
    table: &'static str,
    path: PathBuf,
    schema: TypePtr,
    segments: Vec<Segment>,
    parts: Parts<()>,
    part_started: Instant,
    flushed_rows: usize,
    live_bytes: u64,
    on_disk: bool,
}

impl<R: Rows> LiveTable<R> {
    pub(crate) fn new(table: &'static str, path: PathBuf, rows: R, limits: PartLimits) -> Result<Self> {
        let schema = ArrowSchemaConverter::new()
            .convert(&rows.schema())
            .map_err(|error| store_error(&path, &error))?
            .root_schema_ptr();
        Ok(Self {
            rows,
            table,
            path,
            schema,
            segments: Vec::new(),
            parts: Parts::new(limits),
            part_started: Instant::now(),
            flushed_rows: 0,
            live_bytes: 0,
            on_disk: false,
        })
    }

    /// True once a file exists or rows wait for one.
    pub(crate) fn any(&self) -> bool {
        self.on_disk || self.rows.len() > 0
    }

    /// Seals a full part to bound memory between flushes: call after adding rows.
    pub(crate) fn seal_if_full(&mut self, manifest: &str) -> Result<()> {
        if self.rows.len() >= self.parts.limits.rows {
            self.seal(manifest)
        } else {
            Ok(())
        }
    }

    /// Writes new rows to the file, if there are any.
    pub(crate) fn flush(&mut self, manifest: &str) -> Result<()> {
        if self.on_disk && self.flushed_rows == self.rows.len() {
            return Ok(());
        }
        let limits = &self.parts.limits;
        let due = limits.age.is_some_and(|age| self.part_started.elapsed() >= age)
            || limits.bytes.is_some_and(|bytes| self.live_bytes >= bytes);
        if due && self.rows.len() > 0 {
            return self.seal(manifest);
        }
        self.write_live(manifest)
    }

    fn write_live(&mut self, manifest: &str) -> Result<()> {
        let tail = self.cut_tail()?;
        let properties = self.properties(manifest, true);
        let segments = &self.segments;
        let (schema, path) = (&self.schema, &self.path);
        replace_file(path, false, |out| {
            write_groups(out, schema, properties, segments.iter().chain(&tail))
                .map_err(|error| store_error(path, &error))
        })?;
        self.live_bytes = self.segments.iter().chain(&tail).map(Segment::len_bytes).sum();
        self.flushed_rows = self.rows.len();
        self.on_disk = true;
        Ok(())
    }

    /// Encodes the rows after the last segment, and keeps them as a segment if there are enough.
    fn cut_tail(&mut self) -> Result<Option<Segment>> {
        let start = self.segments.last().map_or(0, |segment| segment.rows.end);
        let tail = start..self.rows.len();
        if tail.is_empty() {
            return Ok(None);
        }
        if tail.len() < R::KEPT_ROWS {
            return self.encode(tail, 0, Effort::Tail).map(Some);
        }
        // A burst is as long as a merged segment already.
        let level = tail.len().div_euclid(MERGED_ROWS).checked_ilog(MERGE_SEGMENTS);
        let (first, level) = self.merged_with(level.map_or(0, |level| level + 1));
        let start = self
            .segments
            .get(first)
            .map_or(start, |segment| segment.rows.start);
        let effort = if level == 0 { Effort::Tail } else { Effort::Quick };
        let segment = self.encode(start..self.rows.len(), level, effort)?;
        self.segments.truncate(first);
        self.segments.push(segment);
        Ok(None)
    }

    /// Returns the first of the segments that a new one of `level` completes to [`MERGE_SEGMENTS`], and the
    /// level of the result; level by level, so that rows are encoded once where several merges coincide.
    fn merged_with(&self, mut level: u32) -> (usize, u32) {
        let mut first = self.segments.len();
        loop {
            let before = &self.segments[..first];
            let same = before.iter().rev().take_while(|s| s.level <= level).count();
            if same + 1 < MERGE_SEGMENTS {
                return (first, level);
            }
            first -= same;
            level += 1;
        }
    }

    fn encode(&mut self, rows: Range<usize>, level: u32, effort: Effort) -> Result<Segment> {
        let encoded = self
            .rows
            .encode(rows.clone(), effort)
            .map_err(|error| store_error(&self.path, &error))?;
        Ok(Segment { encoded, rows, level })
    }

    /// Writes the current rows as a part. The live file still holds them until its next version; the reader
    /// recognizes the overlap by its part number and prefers the part.
    fn seal(&mut self, manifest: &str) -> Result<()> {
        // Re-encoded as one only if that is cheap: at high rates the segments are long enough.
        let segments = if self.part_started.elapsed() > Duration::from_secs(60) {
            vec![self.encode(0..self.rows.len(), 0, Effort::Quick)?]
        } else {
            let start = self.segments.last().map_or(0, |segment| segment.rows.end);
            let mut segments = std::mem::take(&mut self.segments);
            if start < self.rows.len() {
                segments.push(self.encode(start..self.rows.len(), 0, Effort::Quick)?);
            }
            segments
        };
        let path = self.parts.next_path(&self.path);
        let properties = self.properties(manifest, true);
        replace_file(&path, false, |out| {
            write_groups(out, &self.schema, properties, segments.iter())
                .map_err(|error| store_error(&path, &error))
        })?;
        self.segments.clear();
        self.rows.clear();
        self.part_started = Instant::now();
        self.parts.push(path, ())?;
        self.write_live(manifest)
    }

    /// Writes everything that is left, sorted and well compressed, and joins the parts unless they are kept.
    /// Returns the files.
    pub(crate) fn finish(mut self, manifest: &str) -> Result<Vec<PathBuf>> {
        let last = if self.rows.len() > 0 {
            Some(self.encode(0..self.rows.len(), 0, Effort::Thorough)?)
        } else {
            None
        };
        let properties = self.properties(manifest, self.parts.limits.keeps_parts());
        let (schema, path, parts) = (&self.schema, &self.path, &self.parts);
        replace_file(path, true, |out| {
            let map = |error: ParquetError| store_error(path, &error);
            let mut writer =
                SerializedFileWriter::new(out, Arc::clone(schema), Arc::new(properties)).map_err(map)?;
            for part in parts.to_join() {
                let file = File::open(&part.path).map_err(Error::io("open", &part.path))?;
                let metadata = read_metadata(&file).map_err(|error| store_error(&part.path, &error))?;
                for group in metadata.row_groups() {
                    let columns = group.columns().iter().map(|column| (&file, column));
                    append_group(&mut writer, group.num_rows(), columns).map_err(map)?;
                }
            }
            if let Some(last) = &last {
                append_segment(&mut writer, schema, last).map_err(map)?;
            }
            writer.close().map(drop).map_err(map)
        })?;
        self.parts.finish(self.path)
    }

    /// `is_part`: the file is one of several and stores its number.
    fn properties(&self, manifest: &str, is_part: bool) -> WriterProperties {
        let mut pairs = vec![
            KeyValue::new(MANIFEST_KEY.to_owned(), manifest.to_owned()),
            KeyValue::new(TABLE_KEY.to_owned(), self.table.to_owned()),
        ];
        if is_part {
            let (part, first) = (self.parts.next(), self.parts.first());
            pairs.push(KeyValue::new(PART_KEY.to_owned(), part.to_string()));
            pairs.push(KeyValue::new(FIRST_PART_KEY.to_owned(), first.to_string()));
        }
        WriterProperties::builder()
            .set_key_value_metadata(Some(pairs))
            .build()
    }
}

fn write_groups<'a, W: Write + Send>(
    out: W,
    schema: &TypePtr,
    properties: WriterProperties,
    segments: impl Iterator<Item = &'a Segment>,
) -> Result<(), ParquetError> {
    let mut writer = SerializedFileWriter::new(out, Arc::clone(schema), Arc::new(properties))?;
    for segment in segments {
        append_segment(&mut writer, schema, segment)?;
    }
    writer.close().map(drop)
}

fn append_segment<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    schema: &TypePtr,
    segment: &Segment,
) -> Result<(), ParquetError> {
    let rows = i64::try_from(segment.rows.len()).unwrap_or(i64::MAX);
    append_group(writer, rows, segment.columns(schema).into_iter())
}

/// Copies the encoded columns of a row group unchanged, each from a file of its own.
fn append_group<'a, W: Write + Send, F: ChunkReader + 'a>(
    writer: &mut SerializedFileWriter<W>,
    rows: i64,
    columns: impl Iterator<Item = (&'a F, &'a ColumnChunkMetaData)>,
) -> Result<(), ParquetError> {
    let mut out = writer.next_row_group()?;
    for (file, column) in columns {
        let close = ColumnCloseResult {
            bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
            rows_written: u64::try_from(rows).unwrap_or(0),
            metadata: column.clone(),
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        out.append_column(file, close)?;
    }
    out.close().map(drop)
}

fn read_metadata(reader: &impl ChunkReader) -> Result<ParquetMetaData, ParquetError> {
    ParquetMetaDataReader::new().parse_and_finish(reader)
}

pub(crate) fn store_error(path: &Path, error: &ParquetError) -> Error {
    Error::Store {
        target: path.display().to_string(),
        reason: error.to_string(),
    }
}
