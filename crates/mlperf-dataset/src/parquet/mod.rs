//! Parquet: reads only the columns that could make up a prompt.

mod check;
mod thrift;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use self::check::{Limits, Refused};
use super::error::DatasetError;
use super::table::{Cell, Table, whole};

/// Largest number of rows in a file.
const MOST_ROWS: i64 = 10_000_000;
/// Most rows that are decoded at once.
const BATCH_ROWS: usize = 128;
/// Most memory of the rows that are decoded at once. Each can be as large as a page, since a small file can
/// refer to one long text in every row.
const BATCH_BYTES: u64 = 64 << 20;
/// The decoded data may be at most this many times the size of the file, or [`ALWAYS`] if that is larger.
const EXPANSION: u64 = 64;
const ALWAYS: u64 = 256 << 20;

/// Reads the wanted columns of a file.
pub(super) fn read(file: File, path: &Path, wanted: &[&str]) -> Result<Table, DatasetError> {
    // The Parquet library panics on some damaged pages.
    catch_unwind(AssertUnwindSafe(|| decode(file, path, wanted))).unwrap_or_else(|_panic| {
        Err(DatasetError::Format {
            path: path.to_owned(),
            what: "a page of it is damaged".to_owned(),
        })
    })
}

fn decode(mut file: File, path: &Path, wanted: &[&str]) -> Result<Table, DatasetError> {
    let bad = |what: String| DatasetError::Format {
        path: path.to_owned(),
        what,
    };
    let unreadable = |error: &dyn std::fmt::Display| {
        let error = error.to_string();
        if error.contains("Disabled feature") {
            return bad(format!(
                "it is compressed in a way that is not read here ({error}); write it anew with \
                 pandas.read_parquet(file).to_parquet(new_file, compression=\"zstd\")"
            ));
        }
        bad(error)
    };
    let mut budget = file
        .metadata()
        .map_or(0, |metadata| metadata.len().saturating_mul(EXPANSION))
        .max(ALWAYS);
    let limits = Limits {
        budget,
        expansion: EXPANSION,
    };
    let largest_page = check::check(&mut file, wanted, limits).map_err(|refused| match refused {
        Refused::Io(source) => DatasetError::Read {
            path: path.to_owned(),
            source,
        },
        Refused::Because(reason) => bad(reason),
    })?;
    let batch_rows = usize::try_from(BATCH_BYTES / largest_page.max(1))
        .unwrap_or(BATCH_ROWS)
        .clamp(1, BATCH_ROWS);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(&e))?;
    let rows = builder.metadata().file_metadata().num_rows();
    if rows > MOST_ROWS {
        return Err(bad(format!("it has {rows} rows; at most {MOST_ROWS} are read")));
    }
    let names: Vec<String> = builder
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let mut table = Table::new(names, wanted);
    let keep = table
        .names
        .iter()
        .enumerate()
        .filter(|(_, n)| wanted.contains(&n.as_str()))
        .map(|(at, _)| at);
    let mask = ProjectionMask::roots(builder.parquet_schema(), keep.collect::<Vec<_>>());
    for batch in builder
        .with_projection(mask)
        .with_batch_size(batch_rows)
        .build()
        .map_err(|e| unreadable(&e))?
    {
        let batch = batch.map_err(|e| unreadable(&e))?;
        for (name, cells) in &mut table.columns {
            let Some(column) = batch.column_by_name(name) else {
                return Err(bad(format!("column {name} is missing in a part of the file")));
            };
            let dictionary = column.as_any_dictionary_opt();
            let keys = dictionary.map(arrow_array::AnyDictionaryArray::normalized_keys);
            for row in 0..batch.num_rows() {
                let cell = match (dictionary, &keys) {
                    _ if column.is_null(row) => Cell::Null,
                    (Some(dictionary), Some(keys)) => cell(dictionary.values(), keys[row]),
                    _ => cell(column, row),
                };
                let size = std::mem::size_of::<Cell>()
                    + match &cell {
                        Cell::Ids(ids) => 4 * ids.len(),
                        Cell::Text(text) => text.len(),
                        _ => 0,
                    };
                budget = budget.checked_sub(size as u64).ok_or_else(|| {
                    bad(format!(
                        "what it holds is more than {EXPANSION} times as large as the file"
                    ))
                })?;
                cells.push(cell);
            }
        }
        table.rows += batch.num_rows();
    }
    if i64::try_from(table.rows) != Ok(rows) {
        return Err(bad(format!(
            "its footer states {rows} rows, its pages have {}",
            table.rows
        )));
    }
    Ok(table)
}

fn cell(array: &ArrayRef, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    // Older writers mark texts as bytes.
    let text = |bytes: &[u8]| {
        std::str::from_utf8(bytes).map_or(Cell::Other("bytes that are no text"), |text| {
            Cell::Text(text.to_owned())
        })
    };
    match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Cell::Text(array.as_string_view().value(row).to_owned()),
        DataType::Binary => text(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => text(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => text(array.as_binary_view().value(row)),
        DataType::List(_) => ids(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => ids(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => ids(&array.as_fixed_size_list().value(row)),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        _ => match integers(&array.slice(row, 1)).as_deref() {
            Some([number]) => number.map_or(Cell::Other("a number too large"), Cell::Int),
            _ => Cell::Other("a value of another type"),
        },
    }
}

fn float(x: f64) -> Cell {
    if x.is_nan() { Cell::Null } else { Cell::Float(x) }
}

fn ids(list: &ArrayRef) -> Cell {
    if list.null_count() > 0 {
        return Cell::Other("a list with empty places");
    }
    if let Some(floats) = list.as_primitive_opt::<Float64Type>() {
        let ids: Option<Vec<i32>> = floats.values().iter().map(|x| whole(*x)).collect();
        return ids.map_or(Cell::Other("a list of floats that are no token ids"), Cell::Ids);
    }
    let ids = integers(list).and_then(|numbers| {
        numbers
            .into_iter()
            .map(|n| n.and_then(|n| i32::try_from(n).ok()))
            .collect::<Option<Vec<i32>>>()
    });
    ids.map_or(Cell::Other("a list of other things than token ids"), Cell::Ids)
}

/// The numbers of an integer array. An element is `None` if it does not fit; the result is `None` for another
/// type.
fn integers(array: &ArrayRef) -> Option<Vec<Option<i64>>> {
    fn all<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> Vec<Option<i64>>
    where
        T::Native: TryInto<i64>,
    {
        array.values().iter().map(|v| (*v).try_into().ok()).collect()
    }
    Some(match array.data_type() {
        DataType::Int8 => all(array.as_primitive::<Int8Type>()),
        DataType::Int16 => all(array.as_primitive::<Int16Type>()),
        DataType::Int32 => all(array.as_primitive::<Int32Type>()),
        DataType::Int64 => all(array.as_primitive::<Int64Type>()),
        DataType::UInt8 => all(array.as_primitive::<UInt8Type>()),
        DataType::UInt16 => all(array.as_primitive::<UInt16Type>()),
        DataType::UInt32 => all(array.as_primitive::<UInt32Type>()),
        DataType::UInt64 => all(array.as_primitive::<UInt64Type>()),
        // Pandas writes an empty list in a column of empty lists as a list of nulls.
        DataType::Null if array.is_empty() => Vec::new(),
        _ => return None,
    })
}
