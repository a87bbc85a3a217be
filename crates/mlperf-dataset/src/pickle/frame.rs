//! A pandas DataFrame out of the notes of a pickle: its blocks, its column names, its rows.
//!
//! Two layouts of the block manager are in use: pandas up to 1.2 sets a state with the key `0.14.1`, later ones pass
//! the blocks and axes as arguments. Either way a block is a two-dimensional array whose first index runs over some of
//! the columns, told by a slice or an array of positions.

use super::PickleError;
use super::arrow;
use super::heap::{Heap, Value};
use super::names::Global;
use super::numpy::Array;
use crate::table::{Cell, Table};

/// Converted token ids may be at most this many times the file's bytes: an honest file writes each id out (pandas
/// shares equal objects, hence the factor), a hostile one can name one long list a million times.
const EXPANSION: usize = 64;

/// Where the values of a block are.
enum Values<'a, 'h> {
    Array(Array<'a, 'h>),
    /// One column of texts in Arrow's layout.
    Texts(Vec<Option<String>>),
}

struct Block<'a, 'h> {
    values: Values<'a, 'h>,
    /// Column number of each row of the array.
    positions: Vec<usize>,
}

/// The table at the top of a pickle, with the wanted columns.
pub(super) fn table<'a>(
    heap: &Heap<'a>,
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
    let state = frame.state.unwrap_or(Value::None);
    let manager = heap.get(state, "_mgr").or_else(|| heap.get(state, "_data"));
    let manager = manager.ok_or_else(|| PickleError::bad("a DataFrame without its data"))?;
    let (blocks, axes) = manager_parts(heap, manager)?;
    let [columns, rows] = axes.as_slice() else {
        return Err(PickleError::bad("a DataFrame that has not two axes"));
    };
    let names = index_names(heap, *columns)?;
    let rows = index_len(heap, *rows)?;

    let mut table = Table::new(names, wanted);
    table.rows = rows;
    let mut budget = file_len.saturating_mul(EXPANSION);
    for (name, cells) in &mut table.columns {
        let Some(column) = table.names.iter().position(|n| n == name) else {
            continue;
        };
        let found = blocks
            .iter()
            .find_map(|b| Some((b, b.positions.iter().position(|p| *p == column)?)));
        let (block, item) = found.ok_or_else(|| PickleError::Bad(format!("column {name} has no data")))?;
        for row in 0..rows {
            let cell = block.cell(heap, item, row)?;
            let size = match &cell {
                Cell::Ids(ids) => 4 * ids.len(),
                Cell::Text(text) => text.len(),
                _ => 0,
            };
            budget = budget.checked_sub(size + 1).ok_or_else(|| {
                PickleError::Bad(format!(
                    "its cells are more than {EXPANSION} times as large as the file"
                ))
            })?;
            cells.push(cell);
        }
    }
    Ok(table)
}

impl<'a> Block<'a, '_> {
    fn cell(&self, heap: &Heap<'a>, item: usize, row: usize) -> Result<Cell, PickleError> {
        match &self.values {
            Values::Array(array) => array.cell(heap, item, row),
            Values::Texts(texts) => match texts.get(row) {
                Some(text) => Ok(text.clone().map_or(Cell::Null, Cell::Text)),
                None => Err(PickleError::bad(
                    "a column of texts that is shorter than its table",
                )),
            },
        }
    }
}

type Parts<'a, 'h> = (Vec<Block<'a, 'h>>, Vec<Value>);

fn manager_parts<'a, 'h>(heap: &'h Heap<'a>, manager: Value) -> Result<Parts<'a, 'h>, PickleError> {
    let bad = |what: &str| PickleError::Bad(format!("a DataFrame whose block manager {what}"));
    let args = heap
        .call(manager, Global::BlockManager)
        .ok_or_else(|| bad("is of another kind"))?;
    if let [blocks, axes] = args {
        let blocks = heap.items(*blocks).ok_or_else(|| bad("has no blocks"))?;
        let blocks = blocks.iter().map(|block| {
            // The third argument is the number of dimensions, which the array tells too.
            match heap.call(*block, Global::UnpickleBlock) {
                Some([values, positions, ..]) => make_block(heap, *values, *positions),
                _ => Err(bad("has a block of another kind")),
            }
        });
        let axes = heap.items(*axes).ok_or_else(|| bad("has no axes"))?;
        return Ok((blocks.collect::<Result<_, _>>()?, axes.to_vec()));
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
                (Some(values), Some(positions)) => make_block(heap, values, positions),
                _ => Err(bad("has a block without values")),
            },
        );
    Ok((blocks.collect::<Result<_, _>>()?, axes.to_vec()))
}

fn make_block<'a, 'h>(
    heap: &'h Heap<'a>,
    values: Value,
    positions: Value,
) -> Result<Block<'a, 'h>, PickleError> {
    let positions = find_positions(heap, positions)?;
    let values = match Array::find(heap, values) {
        Some(array) => Values::Array(array?),
        None => Values::Texts(arrow::texts(heap, values)?),
    };
    Ok(Block { values, positions })
}

/// Positions as a slice or as an array.
fn find_positions(heap: &Heap<'_>, value: Value) -> Result<Vec<usize>, PickleError> {
    let bad = || PickleError::bad("a block whose place among the columns is not told");
    if let Some([Value::Int(start), Value::Int(stop), Value::Int(step)]) = heap.call(value, Global::Slice) {
        let (start, stop) = (usize::try_from(*start), usize::try_from(*stop));
        let step = usize::try_from(*step).ok().filter(|step| *step > 0);
        let (Ok(start), Ok(stop), Some(step)) = (start, stop, step) else {
            return Err(bad());
        };
        // A table has no million columns; a hostile slice might.
        if stop > 1 << 20 {
            return Err(bad());
        }
        return Ok((start..stop).step_by(step).collect());
    }
    let array = Array::find(heap, value).ok_or_else(bad)??;
    let numbers = array.integers().ok_or_else(bad)?;
    numbers
        .into_iter()
        .map(|n| usize::try_from(n).map_err(|_| bad()))
        .collect()
}

/// What an index holds: a range, or the values of an array.
enum Labels<'a, 'h> {
    Range(i64, i64, i64),
    Array(Array<'a, 'h>),
    Texts(Vec<Option<String>>),
}

fn labels<'a, 'h>(heap: &'h Heap<'a>, index: Value) -> Result<Labels<'a, 'h>, PickleError> {
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
                None => arrow::texts(heap, data).map(Labels::Texts),
            }
        }
        _ => Err(bad()),
    }
}

fn index_len(heap: &Heap<'_>, index: Value) -> Result<usize, PickleError> {
    match labels(heap, index)? {
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

fn index_names(heap: &Heap<'_>, index: Value) -> Result<Vec<String>, PickleError> {
    match labels(heap, index)? {
        Labels::Range(start, stop, step) => {
            let n = range_len(start, stop, step)?;
            if n > 1 << 20 {
                return Err(PickleError::bad("a table of more than a million columns"));
            }
            Ok((0..n as i64).map(|at| (start + at * step).to_string()).collect())
        }
        Labels::Array(array) => (0..array.shape.first().copied().unwrap_or(0))
            .map(|at| {
                Ok(match array.cell(heap, 0, at)? {
                    Cell::Text(name) => name,
                    Cell::Int(number) => number.to_string(),
                    _ => format!("(column {at})"),
                })
            })
            .collect(),
        Labels::Texts(texts) => Ok(texts
            .into_iter()
            .enumerate()
            .map(|(at, t)| t.unwrap_or_else(|| format!("(column {at})")))
            .collect()),
    }
}
