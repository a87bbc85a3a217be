//! Encodes rows as Parquet row groups: schema, encoding and compression, tuned for series that rarely change.
//!
//! Samples are grouped by series and sorted by time within a series. Series are ordered by mean, constant
//! ones first. Cumulative buckets of one histogram, and all series that count the same requests, are then
//! adjacent, which lets the compressor find their repetition. Sorting by name costs a third more.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::super::table::{Cell, Column, Kind, Row};
use run_model::SeriesDef;

/// Compression effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// At each flush: no compression, because the rows are few and will be merged.
    Tail,
    /// Occasionally during a run.
    Quick,
    /// Once, at the end of a run.
    Thorough,
}

/// One page per column: repetitions for zstd may be far apart.
const PAGE_BYTES: usize = 16 << 20;
const QUICK_LEVEL: i32 = 1;
const THOROUGH_LEVEL: i32 = 13;

fn properties(effort: Effort) -> WriterPropertiesBuilder {
    let level =
        |level| Compression::ZSTD(ZstdLevel::try_new(level).expect("the level is within zstd's range"));
    let compression = match effort {
        Effort::Tail => Compression::UNCOMPRESSED,
        Effort::Quick => level(QUICK_LEVEL),
        Effort::Thorough => level(THOROUGH_LEVEL),
    };
    WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(usize::MAX)
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::None)
        // First and last time of a row group, so that readers of a time range can skip others.
        .set_column_statistics_enabled(ColumnPath::from("timestamp"), EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
}

/// A UTC timestamp with nanoseconds.
fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Distinct texts of one column.
#[derive(Debug, Default)]
struct Words {
    ids: HashMap<Arc<str>, i32>,
    texts: Vec<Arc<str>>,
    array: Option<ArrayRef>,
}

impl Words {
    fn id(&mut self, text: &Arc<str>) -> i32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = i32::try_from(self.texts.len()).expect("a run has fewer than two billion distinct texts");
        self.texts.push(Arc::clone(text));
        self.ids.insert(Arc::clone(text), id);
        self.array = None;
        id
    }

    fn array(&mut self) -> ArrayRef {
        let texts = &self.texts;
        let array = self
            .array
            .get_or_insert_with(|| Arc::new(StringArray::from_iter_values(texts)));
        Arc::clone(array)
    }
}

/// Encoded columns of some rows: a Parquet file with one row group.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    pub(crate) metadata: ParquetMetaData,
}

/// Constant columns, in file order around `value`: name, labels, type, unit, source, endpoint.
const CONSTANT_COLUMNS: usize = 6;
/// Places of the time and the value among the columns of the file.
const VARYING: [usize; 2] = [0, 3];
/// Places of the constant columns and the phase.
const REPEATING: [usize; 7] = [1, 2, 4, 5, 6, 7, 8];

/// Number of [`Layout`]s that are kept: a scrape's, and those of merged ones.
const LAYOUTS: usize = 4;
/// Longer ones are rare, and are encoded again.
const LAYOUT_ROWS: usize = 1 << 16;

/// The columns of a row group that depend on its series and phases only, encoded. The next scrape usually has
/// the same series in the same order, so that a flush encodes times and values only.
#[derive(Debug)]
struct Layout {
    series: Vec<u32>,
    phases: Vec<i32>,
    encoded: Arc<Encoded>,
}

/// Samples of the current part in order of arrival, 24 bytes each.
#[derive(Debug, Default)]
pub(crate) struct SampleRows {
    series: Vec<u32>,
    times: Vec<i64>,
    values: Vec<f64>,
    phases: Vec<i32>,
    words: [Words; CONSTANT_COLUMNS],
    phase_words: Words,
    defs: Vec<[i32; CONSTANT_COLUMNS]>,
    /// Most recently used first.
    layouts: VecDeque<Layout>,
}

impl SampleRows {
    /// Series must be added in order of their ids, starting at 0.
    pub(crate) fn add_series(&mut self, def: &SeriesDef) {
        let kind: Arc<str> = Arc::from(def.metric_type.as_str());
        let texts = [
            &def.metric_name,
            &def.labels,
            &kind,
            &def.unit,
            &def.source,
            &def.endpoint_url,
        ];
        let mut ids = [0; CONSTANT_COLUMNS];
        for ((id, words), text) in ids.iter_mut().zip(&mut self.words).zip(texts) {
            *id = words.id(text);
        }
        self.defs.push(ids);
    }

    pub(crate) fn series_count(&self) -> usize {
        self.defs.len()
    }

    pub(crate) fn phase(&mut self, name: &Arc<str>) -> i32 {
        self.phase_words.id(name)
    }

    pub(crate) fn push(&mut self, series: u32, time_ns: i64, value: f64, phase: i32) {
        self.series.push(series);
        self.times.push(time_ns);
        self.values.push(value);
        self.phases.push(phase);
    }

    /// Returns everything as one batch in memory, series by series.
    pub(crate) fn record_batch(&mut self) -> Result<RecordBatch> {
        let order = self.order(0..self.times.len(), Effort::Tail);
        self.batch(&order)
    }

    /// Row numbers of `range`, series by series, ascending in time.
    fn order(&self, range: Range<usize>, effort: Effort) -> Vec<u32> {
        let mut present: Vec<usize> = Vec::new();
        let mut counts = vec![0; self.defs.len()];
        for &series in &self.series[range.clone()] {
            let count = &mut counts[series as usize];
            if *count == 0 {
                present.push(series as usize);
            }
            *count += 1;
        }
        let mut next = vec![0; self.defs.len()];
        let mut end = 0;
        let mut groups: Vec<Range<usize>> = Vec::with_capacity(present.len());
        for series in present {
            next[series] = end;
            groups.push(end..end + counts[series]);
            end += counts[series];
        }
        let mut order = vec![0; end];
        for row in range {
            let place = &mut next[self.series[row] as usize];
            order[*place] = u32::try_from(row).expect("a part has fewer than four billion rows");
            *place += 1;
        }
        for group in &groups {
            let rows = &mut order[group.clone()];
            if !rows.is_sorted_by_key(|&row| self.times[row as usize]) {
                rows.sort_by_key(|&row| self.times[row as usize]);
            }
        }
        if effort != Effort::Thorough {
            return order;
        }
        let mut groups: Vec<&[u32]> = groups.into_iter().map(|group| &order[group]).collect();
        groups.sort_by_cached_key(|group| SortKey::of(group.iter().map(|&row| self.values[row as usize])));
        groups.concat()
    }

    fn batch(&mut self, order: &[u32]) -> Result<RecordBatch> {
        let (series, phases) = self.layout(order);
        let [times, values] = self.varying(order);
        let mut columns = self.repeating(&series, &phases)?;
        columns.insert(0, times);
        columns.insert(VARYING[1], values);
        Ok(RecordBatch::try_new(sample_schema(), columns)?)
    }

    /// Series and phase of each row.
    fn layout(&self, order: &[u32]) -> (Vec<u32>, Vec<i32>) {
        order
            .iter()
            .map(|&row| (self.series[row as usize], self.phases[row as usize]))
            .unzip()
    }

    fn varying(&self, order: &[u32]) -> [ArrayRef; 2] {
        let rows = || order.iter().map(|&row| row as usize);
        let times = TimestampNanosecondArray::from_iter_values(rows().map(|row| self.times[row]));
        let values = Float64Array::from_iter_values(rows().map(|row| self.values[row]));
        [Arc::new(times.with_timezone("UTC")), Arc::new(values)]
    }

    /// The columns at [`REPEATING`].
    fn repeating(&mut self, series: &[u32], phases: &[i32]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(VARYING.len() + REPEATING.len());
        for (column, words) in self.words.iter_mut().enumerate() {
            let ids = series.iter().map(|&id| self.defs[id as usize][column]);
            columns.push(dictionary(Int32Array::from_iter_values(ids), words)?);
        }
        let phases = Int32Array::from_iter_values(phases.iter().copied());
        columns.push(dictionary(phases, &mut self.phase_words)?);
        Ok(columns)
    }

    /// The columns at [`REPEATING`], encoded now or earlier.
    fn encoded_layout(&mut self, order: &[u32]) -> Result<Arc<Encoded>> {
        let (series, phases) = self.layout(order);
        let known = self
            .layouts
            .iter()
            .position(|layout| layout.series == series && layout.phases == phases);
        if let Some(known) = known.and_then(|at| self.layouts.remove(at)) {
            let encoded = Arc::clone(&known.encoded);
            self.layouts.push_front(known);
            return Ok(encoded);
        }
        let schema = Arc::new(sample_schema().project(&REPEATING)?);
        let batch = RecordBatch::try_new(schema, self.repeating(&series, &phases)?)?;
        let encoded = Arc::new(encode_batch(&batch, properties(Effort::Quick).build())?);
        if series.len() <= LAYOUT_ROWS {
            self.layouts.truncate(LAYOUTS - 1);
            self.layouts.push_front(Layout {
                series,
                phases,
                encoded: Arc::clone(&encoded),
            });
        }
        Ok(encoded)
    }
}

fn dictionary(ids: Int32Array, words: &mut Words) -> Result<ArrayRef> {
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(
        ids,
        words.array(),
    )?))
}

/// Constant series first, then integers, then fractions; by mean within each.
#[derive(PartialEq)]
struct SortKey {
    class: u8,
    mean: f64,
}

impl Eq for SortKey {}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.class
            .cmp(&other.class)
            .then(self.mean.total_cmp(&other.mean))
    }
}

impl SortKey {
    fn of(values: impl ExactSizeIterator<Item = f64>) -> Self {
        let count = values.len().max(1);
        let (mut sum, mut first, mut constant, mut whole) = (0.0, None, true, true);
        for value in values {
            let first = *first.get_or_insert(value);
            constant &= first.to_bits() == value.to_bits();
            whole &= value.fract() == 0.0;
            sum += value;
        }
        let class = if constant {
            0
        } else if whole {
            1
        } else {
            2
        };
        Self {
            class,
            mean: sum / count as f64,
        }
    }
}

/// The long form: one row per sample.
pub(crate) fn sample_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, dictionary_type(), false);
    Arc::new(Schema::new(vec![
        Field::new("timestamp", time_type(), false),
        text("metric_name"),
        text("labels"),
        Field::new("value", DataType::Float64, false),
        text("metric_type"),
        text("unit"),
        text("source"),
        text("endpoint_url"),
        text("phase"),
    ]))
}

/// Schema of a table other than the samples.
pub(crate) fn row_schema(columns: &[Column]) -> SchemaRef {
    let fields = columns.iter().map(|column| {
        let data_type = match column.kind {
            Kind::Time => time_type(),
            Kind::Nanos => DataType::Int64,
            Kind::Count => DataType::UInt64,
            Kind::Real => DataType::Float64,
            Kind::Text => DataType::Utf8,
        };
        Field::new(column.name, data_type, !column.required)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows that can be encoded as one row group.
pub(crate) trait Rows {
    /// Number of new rows that a flush keeps encoded, so that the next one copies them. Fewer are encoded
    /// again by the next flush, together with the rows after them.
    const KEPT_ROWS: usize;
    /// Columns of the table.
    fn schema(&self) -> SchemaRef;
    /// How many rows there are.
    fn len(&self) -> usize;
    /// Encodes `range` as one row group, whose columns are those of all returned files.
    fn encode(&mut self, range: Range<usize>, effort: Effort) -> Result<Vec<Arc<Encoded>>>;
    /// Removes the rows but keeps what later rows refer to.
    fn clear(&mut self);
}

impl Rows for SampleRows {
    // With its layout known, a scrape costs little, and its row group little more.
    const KEPT_ROWS: usize = 1;

    fn schema(&self) -> SchemaRef {
        sample_schema()
    }

    fn len(&self) -> usize {
        self.times.len()
    }

    fn encode(&mut self, range: Range<usize>, effort: Effort) -> Result<Vec<Arc<Encoded>>> {
        let order = self.order(range, effort);
        let path = |name: &str| ColumnPath::from(name);
        let properties = properties(effort)
            // The same few hundred values repeat for each series: in plain encoding they are one long match
            // for zstd, while dictionary indices are aligned differently in each series.
            .set_column_dictionary_enabled(path("timestamp"), false)
            .set_column_statistics_enabled(path("timestamp"), EnabledStatistics::Chunk)
            .set_column_dictionary_enabled(path("value"), false)
            .set_column_encoding(path("value"), Encoding::BYTE_STREAM_SPLIT)
            .build();
        if effort == Effort::Thorough {
            let batch = self.batch(&order)?;
            return Ok(vec![Arc::new(encode_batch(&batch, properties)?)]);
        }
        let schema = Arc::new(sample_schema().project(&VARYING)?);
        let batch = RecordBatch::try_new(schema, self.varying(&order).into())?;
        let varying = Arc::new(encode_batch(&batch, properties)?);
        Ok(vec![varying, self.encoded_layout(&order)?])
    }

    fn clear(&mut self) {
        self.series.clear();
        self.times.clear();
        self.values.clear();
        self.phases.clear();
    }
}

/// Rows of a table other than the samples.
#[derive(Debug)]
pub(crate) struct TableRows<R> {
    rows: Vec<R>,
}

impl<R> Default for TableRows<R> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<R> TableRows<R> {
    pub(crate) fn push(&mut self, row: R) {
        self.rows.push(row);
    }
}

impl<R: Row> Rows for TableRows<R> {
    // These tables have many columns, so that each row group costs the footer more than its rows.
    const KEPT_ROWS: usize = 512;

    fn schema(&self) -> SchemaRef {
        row_schema(R::COLUMNS)
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn encode(&mut self, range: Range<usize>, effort: Effort) -> Result<Vec<Arc<Encoded>>> {
        let batch = row_batch(&self.rows[range])?;
        let mut properties = properties(effort);
        for column in R::COLUMNS {
            // Times and ids increase and rarely repeat; other numbers and texts do repeat.
            if column.kind == Kind::Time || (column.kind == Kind::Count && column.name.ends_with("_id")) {
                properties = properties
                    .set_column_dictionary_enabled(ColumnPath::from(column.name), false)
                    .set_column_encoding(ColumnPath::from(column.name), Encoding::DELTA_BINARY_PACKED);
            }
        }
        Ok(vec![Arc::new(encode_batch(&batch, properties.build())?)])
    }

    fn clear(&mut self) {
        self.rows.clear();
    }
}

/// Converts rows to one batch.
pub(crate) fn row_batch<R: Row>(rows: &[R]) -> Result<RecordBatch> {
    let columns = R::COLUMNS
        .iter()
        .enumerate()
        .map(|(index, column)| cells(rows, index, column.kind));
    Ok(RecordBatch::try_new(row_schema(R::COLUMNS), columns.collect())?)
}

fn cells<R: Row>(rows: &[R], index: usize, kind: Kind) -> ArrayRef {
    let cells = rows.iter().map(|row| row.cell(index));
    let signed = |cell: Cell<'_>| match cell {
        Cell::Time(ns) | Cell::Nanos(ns) => Some(ns),
        _ => None,
    };
    match kind {
        Kind::Time => Arc::new(
            cells
                .map(signed)
                .collect::<TimestampNanosecondArray>()
                .with_timezone("UTC"),
        ),
        Kind::Nanos => Arc::new(cells.map(signed).collect::<Int64Array>()),
        Kind::Count => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Count(n) => Some(n),
                    _ => None,
                })
                .collect::<UInt64Array>(),
        ),
        Kind::Real => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Real(value) => Some(value),
                    _ => None,
                })
                .collect::<Float64Array>(),
        ),
        Kind::Text => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Text(text) => Some(text.into_owned()),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
    }
}

/// The file omits the Arrow schema, which costs a kilobyte and makes readers build dictionaries.
fn encode_batch(batch: &RecordBatch, properties: WriterProperties) -> Result<Encoded> {
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options)?;
    writer.write(batch)?;
    let metadata = writer.finish()?;
    let bytes = std::mem::take(writer.inner_mut()).into();
    Ok(Encoded { bytes, metadata })
}
