//! Extracts a pandas DataFrame from the recorded calls of a pickle: its blocks, its column names, its rows.
//!
//! The block manager has two layouts: pandas up to 1.2 sets a state with the key `0.14.1`, later versions
//! pass the blocks and axes as arguments. In both, a block is a two-dimensional array whose first index runs
//! over some of the columns, given by a slice or an array of positions.

use super::PickleError;
use super::arrow;
use super::budget::Budget;
use super::heap::{Heap, Value};
use super::names::Global;
use super::numpy::{Array, class_of};
use crate::table::{Cell, Table};

/// Largest number of columns in a table.
const MOST_COLUMNS: usize = 1 << 20;

/// Where the values of a column are.
enum Values<'a, 'h> {
    Array(Array<'a, 'h>),
    /// One column of texts in Arrow's layout.
    Texts(Vec<Option<String>>),
    /// One column of codes, with the label of each code.
    Categories(Array<'a, 'h>, Labels<'a, 'h>),
}

/// Some columns of the table. The values are examined only if one of the columns is wanted, so that a column
/// of an unsupported kind does not prevent the others from being read.
struct Block {
    values: Value,
    positions: Positions,
}

/// The column number of each row of a block's array.
enum Positions {
    Slice { start: usize, stop: usize, step: usize },
    List(Vec<usize>),
}

impl Positions {
    /// The row of the block that holds a column.
    fn item(&self, column: usize) -> Option<usize> {
        match self {
            Self::Slice { start, stop, step } => {
                let behind = column.checked_sub(*start).filter(|_| column < *stop)?;
                behind.is_multiple_of(*step).then(|| behind / step)
            }
            Self::List(list) => list.iter().position(|position| *position == column),
        }
    }
}

/// The table at the top of a pickle, with the wanted columns.
pub(super) fn table(
    heap: &Heap<'_>,
    top: Value,
    wanted: &[&str],
    file_len: usize,
) -> Result<Table, PickleError> {
    let object = heap.object(top).filter(|o| o.callable == Global::DataFrame);
    let Some(frame) = object else {
        return Err(PickleError::Bad(format!(
            "it holds {} instead of a pandas DataFrame",
            heap.kind(top)
        )));
    };
    let mut budget = Budget::new(file_len);
    let state = frame.state.unwrap_or(Value::None);
    let manager = heap.get(state, "_mgr").or_else(|| heap.get(state, "_data"));
    let manager = manager.ok_or_else(|| PickleError::bad("a DataFrame without its data"))?;
    let (blocks, axes) = manager_parts(heap, manager, &mut budget)?;
    let [columns, rows] = axes.as_slice() else {
        return Err(PickleError::bad("a DataFrame that has not two axes"));
    };
    let names = index_names(heap, *columns, &mut budget)?;
    let mut table = Table::new(names, wanted);
    // Unsupported row labels do not matter if the columns give the number of rows.
    let mut rows = index_len(heap, *rows, &mut budget).ok();
    for (name, cells) in &mut table.columns {
        let Some(column) = table.names.iter().position(|n| n == name) else {
            continue;
        };
        let found = blocks
            .iter()
            .find_map(|block| Some((block, block.positions.item(column)?)));
        let (block, item) = found.ok_or_else(|| PickleError::Bad(format!("column {name} has no data")))?;
        let values = Values::find(heap, block.values, &mut budget).map_err(|error| error.of_column(name))?;
        let rows = *rows.get_or_insert(values.rows());
        for row in 0..rows {
            let cell = values.cell(heap, item, row)?;
            let size = match &cell {
                Cell::Ids(ids) => 4 * ids.len(),
                Cell::Text(text) => text.len(),
                _ => 0,
            };
            budget.take(size + 1)?;
            cells.push(cell);
        }
    }
    table.rows = rows.unwrap_or(0);
    Ok(table)
}

impl<'a, 'h> Values<'a, 'h> {
    fn find(heap: &'h Heap<'a>, value: Value, budget: &mut Budget) -> Result<Self, PickleError> {
        if class_of(heap, value) == Some(Global::Categorical) {
            return categories(heap, value, budget);
        }
        match Array::find(heap, value) {
            Some(array) => Ok(Self::Array(array?)),
            None => Ok(Self::Texts(arrow::texts(heap, value, budget)?)),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Array(array) | Self::Categories(array, _) => array.shape.last().copied().unwrap_or(0),
            Self::Texts(texts) => texts.len(),
        }
    }

    fn cell(&self, heap: &Heap<'a>, item: usize, row: usize) -> Result<Cell, PickleError> {
        match self {
            Self::Array(array) => array.cell(heap, item, row),
            Self::Texts(texts) => text_cell(texts, row),
            Self::Categories(codes, labels) => match codes.cell(heap, 0, row)? {
                // The code of a missing value is -1.
                Cell::Int(code) => {
                    usize::try_from(code).map_or(Ok(Cell::Null), |code| labels.cell(heap, code))
                }
                _ => Err(PickleError::bad("a category whose codes are not numbers")),
            },
        }
    }
}

fn text_cell(texts: &[Option<String>], row: usize) -> Result<Cell, PickleError> {
    match texts.get(row) {
        Some(text) => Ok(text.clone().map_or(Cell::Null, Cell::Text)),
        None => Err(PickleError::bad(
            "a column of texts that is shorter than its table",
        )),
    }
}

/// A categorical column: the state has its type and its codes, and the type's state has the categories as an
/// index.
fn categories<'a, 'h>(
    heap: &'h Heap<'a>,
    value: Value,
    budget: &mut Budget,
) -> Result<Values<'a, 'h>, PickleError> {
    let bad = || PickleError::bad("a category in an unknown layout");
    let state = heap
        .object(value)
        .and_then(|object| object.state)
        .ok_or_else(bad)?;
    let Some([dtype, codes, ..]) = heap.items(state) else {
        return Err(bad());
    };
    let index = heap
        .object(*dtype)
        .filter(|dtype| dtype.callable == Global::CategoricalDtype)
        .and_then(|dtype| heap.get(dtype.state?, "categories"))
        .ok_or_else(bad)?;
    let codes = Array::find(heap, *codes).ok_or_else(bad)??;
    Ok(Values::Categories(codes, labels(heap, index, budget)?))
}

type Parts = (Vec<Block>, Vec<Value>);

fn manager_parts(heap: &Heap<'_>, manager: Value, budget: &mut Budget) -> Result<Parts, PickleError> {
    let bad = |what: &str| PickleError::Bad(format!("a DataFrame whose block manager {what}"));
    let args = heap
        .call(manager, Global::BlockManager)
        .ok_or_else(|| bad("is of another kind"))?;
    if let [blocks, axes] = args {
        let blocks = heap.items(*blocks).ok_or_else(|| bad("has no blocks"))?;
        let blocks = blocks.iter().map(|block| {
            // The third argument is the number of dimensions, which is also known from the array.
            match heap.call(*block, Global::UnpickleBlock) {
                Some([values, positions, ..]) => make_block(heap, *values, *positions, budget),
                _ => Err(bad("has a block of another kind")),
            }
        });
        let blocks = blocks.collect::<Result<_, _>>()?;
        let axes = heap.items(*axes).ok_or_else(|| bad("has no axes"))?;
        return Ok((blocks, axes.to_vec()));
    }
    let state = heap
        .object(manager)
        .and_then(|o| o.state)
        .and_then(|s| heap.items(s))
        .unwrap_or_default();
    let inner = state
        .last()
        .and_then(|last| heap.get(*last, "0.14.1"))
        .ok_or_else(|| bad("has an unknown layout"))?;
    let axes = heap
        .get(inner, "axes")
        .and_then(|a| heap.items(a))
        .ok_or_else(|| bad("has no axes"))?;
    let blocks = heap
        .get(inner, "blocks")
        .and_then(|b| heap.items(b))
        .ok_or_else(|| bad("has no blocks"))?;
    let blocks =
        blocks.iter().map(
            |block| match (heap.get(*block, "values"), heap.get(*block, "mgr_locs")) {
                (Some(values), Some(positions)) => make_block(heap, values, positions, budget),
                _ => Err(bad("has a block without values")),
            },
        );
    Ok((blocks.collect::<Result<_, _>>()?, axes.to_vec()))
}

fn make_block(
    heap: &Heap<'_>,
    values: Value,
    positions: Value,
    budget: &mut Budget,
) -> Result<Block, PickleError> {
    Ok(Block {
        values,
        positions: find_positions(heap, positions, budget)?,
    })
}

/// Positions as a slice or as an array.
fn find_positions(heap: &Heap<'_>, value: Value, budget: &mut Budget) -> Result<Positions, PickleError> {
    let bad = || PickleError::bad("a block whose place among the columns is unknown");
    if let Some([Value::Int(start), Value::Int(stop), Value::Int(step)]) = heap.call(value, Global::Slice) {
        let (start, stop) = (usize::try_from(*start), usize::try_from(*stop));
        let step = usize::try_from(*step).ok().filter(|step| *step > 0);
        let (Ok(start), Ok(stop), Some(step)) = (start, stop, step) else {
            return Err(bad());
        };
        return Ok(Positions::Slice { start, stop, step });
    }
    let array = Array::find(heap, value).ok_or_else(bad)??;
    budget.take(array.shape.first().map_or(0, |count| count.saturating_mul(8)))?;
    let numbers = array.integers().ok_or_else(bad)?;
    numbers
        .into_iter()
        .map(|n| usize::try_from(n).map_err(|_| bad()))
        .collect::<Result<_, _>>()
        .map(Positions::List)
}

/// The labels of an index: a range, or the values of an array.
enum Labels<'a, 'h> {
    Range(i64, i64, i64),
    Array(Array<'a, 'h>),
    Texts(Vec<Option<String>>),
}

impl<'a> Labels<'a, '_> {
    fn cell(&self, heap: &Heap<'a>, at: usize) -> Result<Cell, PickleError> {
        match self {
            Self::Range(start, _, step) => Ok(i64::try_from(at)
                .ok()
                .and_then(|at| start.checked_add(at.checked_mul(*step)?))
                .map_or(Cell::Other("a number too large"), Cell::Int)),
            Self::Array(array) => array.cell(heap, 0, at),
            Self::Texts(texts) => text_cell(texts, at),
        }
    }
}

fn labels<'a, 'h>(
    heap: &'h Heap<'a>,
    index: Value,
    budget: &mut Budget,
) -> Result<Labels<'a, 'h>, PickleError> {
    let bad = || PickleError::bad("an index of another kind than a range or plain labels");
    let Some([Value::Global(class), dict]) = heap.call(index, Global::NewIndex) else {
        return Err(bad());
    };
    let int = |key| match heap.get(*dict, key) {
        Some(Value::Int(n)) => Ok(n),
        _ => Err(bad()),
    };
    match class {
        Global::RangeIndex => Ok(Labels::Range(int("start")?, int("stop")?, int("step")?)),
        Global::Index => {
            let data = heap.get(*dict, "data").ok_or_else(bad)?;
            match Array::find(heap, data) {
                Some(array) => Ok(Labels::Array(array?)),
                None => arrow::texts(heap, data, budget).map(Labels::Texts),
            }
        }
        _ => Err(bad()),
    }
}

fn index_len(heap: &Heap<'_>, index: Value, budget: &mut Budget) -> Result<usize, PickleError> {
    match labels(heap, index, budget)? {
        Labels::Range(start, stop, step) => range_len(start, stop, step),
        Labels::Array(array) => Ok(array.shape.first().copied().unwrap_or(0)),
        Labels::Texts(texts) => Ok(texts.len()),
    }
}

fn range_len(start: i64, stop: i64, step: i64) -> Result<usize, PickleError> {
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    if step == 0 {
        return Err(PickleError::bad("a range with step 0"));
    }
    let span = if step > 0 { stop - start } else { start - stop };
    let steps = (span.max(0) + step.abs() - 1) / step.abs();
    usize::try_from(steps).map_err(|_| PickleError::bad("a range beyond this machine's memory"))
}

fn index_names(heap: &Heap<'_>, index: Value, budget: &mut Budget) -> Result<Vec<String>, PickleError> {
    let labels = labels(heap, index, budget)?;
    let count = match &labels {
        Labels::Range(start, stop, step) => range_len(*start, *stop, *step)?,
        Labels::Array(array) => array.shape.first().copied().unwrap_or(0),
        Labels::Texts(texts) => texts.len(),
    };
    if count > MOST_COLUMNS {
        return Err(PickleError::bad("a table of more than a million columns"));
    }
    (0..count)
        .map(|at| {
            let name = match labels.cell(heap, at)? {
                Cell::Text(name) => name,
                Cell::Int(number) => number.to_string(),
                _ => format!("(column {at})"),
            };
            budget.take(std::mem::size_of::<String>() + name.len())?;
            Ok(name)
        })
        .collect()
}
