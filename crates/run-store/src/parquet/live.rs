//! One table's Parquet file while it grows: readable after every flush, at a bounded cost per flush.
//!
//! Rows go through three stages. The *tail* is re-encoded at each flush. A tail of [`SEGMENT_ROWS`] becomes a
//! *segment*: encoded bytes that later flushes only copy; [`MERGE_SEGMENTS`] small segments become one. When
//! the file holds [`PartLimits::rows`] rows or exceeds its size or age, it is *sealed*: rewritten under a
//! part's name, after which the live file starts empty. Each version of the live file is written under a
//! temporary name and then renamed, so a kill at any moment leaves a complete file. [`LiveTable::finish`]
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
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::ChunkReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::TypePtr;

use super::super::atomic::replace_file;
use super::super::manifest::{FIRST_PART_KEY, MANIFEST_KEY, PART_KEY, TABLE_KEY};
use super::super::options::PartLimits;
use super::super::parts::Parts;
use super::encode::{Effort, Rows};
use run_model::{Error, Result};

/// A tail of this length is kept encoded.
const SEGMENT_ROWS: usize = 4096;
/// Number of small segments that are re-encoded as one.
const MERGE_SEGMENTS: usize = 16;

#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    metadata: ParquetMetaData,
    rows: Range<usize>,
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
            let segments = segments.iter().chain(&tail).map(|s| (&s.bytes, &s.metadata));
            write_groups(out, schema, properties, segments).map_err(|error| store_error(path, &error))
        })?;
        self.live_bytes = self
            .segments
            .iter()
            .chain(&tail)
            .map(|s| s.bytes.len() as u64)
            .sum();
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
        if tail.len() < SEGMENT_ROWS {
            return self.encode(tail, Effort::Tail).map(Some);
        }
        let segment = self.encode(tail, Effort::Quick)?;
        self.segments.push(segment);
        let small = self
            .segments
            .iter()
            .rev()
            .take_while(|s| s.rows.len() < SEGMENT_ROWS * MERGE_SEGMENTS)
            .count();
        if small >= MERGE_SEGMENTS {
            let first = self.segments.len() - small;
            let merged = self.encode(self.segments[first].rows.start..self.rows.len(), Effort::Quick)?;
            self.segments.truncate(first);
            self.segments.push(merged);
        }
        Ok(None)
    }

    fn encode(&mut self, rows: Range<usize>, effort: Effort) -> Result<Segment> {
        let bytes = self
            .rows
            .encode(rows.clone(), effort)
            .map_err(|error| store_error(&self.path, &error))?;
        let bytes = Bytes::from(bytes);
        let metadata = read_metadata(&bytes).map_err(|error| store_error(&self.path, &error))?;
        Ok(Segment {
            bytes,
            metadata,
            rows,
        })
    }

    /// Writes the current rows as a part. The live file still holds them until its next version; the reader
    /// recognizes the overlap by its part number and prefers the part.
    fn seal(&mut self, manifest: &str) -> Result<()> {
        // Re-encoded as one only if that is cheap: at high rates the segments are long enough.
        let segments = if self.part_started.elapsed() > Duration::from_secs(60) {
            vec![self.encode(0..self.rows.len(), Effort::Quick)?]
        } else {
            let start = self.segments.last().map_or(0, |segment| segment.rows.end);
            let mut segments = std::mem::take(&mut self.segments);
            if start < self.rows.len() {
                segments.push(self.encode(start..self.rows.len(), Effort::Quick)?);
            }
            segments
        };
        let path = self.parts.next_path(&self.path);
        let properties = self.properties(manifest, true);
        replace_file(&path, false, |out| {
            let segments = segments.iter().map(|s| (&s.bytes, &s.metadata));
            write_groups(out, &self.schema, properties, segments).map_err(|error| store_error(&path, &error))
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
            Some(self.encode(0..self.rows.len(), Effort::Thorough)?)
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
                append_groups(&mut writer, &file, &metadata).map_err(map)?;
            }
            if let Some(last) = &last {
                append_groups(&mut writer, &last.bytes, &last.metadata).map_err(map)?;
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
    segments: impl Iterator<Item = (&'a Bytes, &'a ParquetMetaData)>,
) -> Result<(), ParquetError> {
    let mut writer = SerializedFileWriter::new(out, Arc::clone(schema), Arc::new(properties))?;
    for (bytes, metadata) in segments {
        append_groups(&mut writer, bytes, metadata)?;
    }
    writer.close().map(drop)
}

/// Copies encoded row groups unchanged.
fn append_groups<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    reader: &impl ChunkReader,
    metadata: &ParquetMetaData,
) -> Result<(), ParquetError> {
    for group in metadata.row_groups() {
        let mut out = writer.next_row_group()?;
        for column in group.columns() {
            let close = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
                rows_written: u64::try_from(group.num_rows()).unwrap_or(0),
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            out.append_column(reader, close)?;
        }
        out.close()?;
    }
    Ok(())
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
