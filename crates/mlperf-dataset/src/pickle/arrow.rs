//! Text columns as pandas 3 stores them: Arrow arrays of large strings.

use super::PickleError;
use super::budget::Budget;
use super::heap::{Heap, Value};
use super::names::Global;
use super::numpy::find_bytes;

/// The texts of an `ArrowStringArray`.
pub(super) fn texts(
    heap: &Heap<'_>,
    value: Value,
    budget: &mut Budget,
) -> Result<Vec<Option<String>>, PickleError> {
    let object = heap
        .object(value)
        .filter(|o| o.callable == Global::ArrowStringArray);
    let Some(object) = object else {
        return Err(PickleError::Bad(format!(
            "a column kept as {}, which is not read",
            heap.kind(value)
        )));
    };
    // The state is a dictionary, or a pair of a dictionary and slots.
    let state = object.state.unwrap_or(Value::None);
    let state = heap
        .items(state)
        .and_then(|pair| pair.first().copied())
        .unwrap_or(state);
    let array = heap.get(state, "_pa_array").or_else(|| heap.get(state, "_data"));
    let array = array.ok_or_else(|| PickleError::bad("a column of texts without its data"))?;
    if let Some([chunks, ..]) = heap.call(array, Global::ArrowChunked) {
        let chunks = heap
            .items(*chunks)
            .ok_or_else(|| PickleError::bad("a chunked column without chunks"))?;
        let mut all = Vec::new();
        for chunk in chunks {
            all.extend(restored(heap, *chunk, budget)?);
        }
        return Ok(all);
    }
    restored(heap, array, budget)
}

/// `_restore_array((type, length, nulls, offset, buffers, children, dictionary))`.
fn restored(heap: &Heap<'_>, array: Value, budget: &mut Budget) -> Result<Vec<Option<String>>, PickleError> {
    let bad = |what: &str| PickleError::Bad(format!("a column of texts {what}"));
    let args = heap.call(array, Global::ArrowRestore).unwrap_or_default();
    let data = args
        .first()
        .and_then(|data| heap.items(*data))
        .unwrap_or_default();
    let [kind, Value::Int(length), _, Value::Int(offset), buffers, ..] = data else {
        return Err(bad("in an unknown layout"));
    };
    let kind = heap
        .call(*kind, Global::ArrowType)
        .and_then(|args| heap.str(*args.first()?));
    let width = match kind {
        Some("large_string" | "large_utf8") => 8,
        Some("string" | "utf8") => 4,
        other => {
            return Err(PickleError::Bad(format!(
                "a column of Arrow type {other:?}, which is not read"
            )));
        }
    };
    let (Ok(length), Ok(offset)) = (usize::try_from(*length), usize::try_from(*offset)) else {
        return Err(bad("of a negative length"));
    };
    let Some([valid, offsets, bytes]) = heap.items(*buffers) else {
        return Err(bad("without its three buffers"));
    };
    let buffer = |value: Value| match heap.call(value, Global::ArrowBuffer) {
        Some([bytes]) => find_bytes(heap, *bytes),
        _ => Err(bad("with a buffer of another kind")),
    };
    let valid = if *valid == Value::None {
        None
    } else {
        Some(buffer(*valid)?)
    };
    let offsets = buffer(*offsets)?;
    let bytes = if *bytes == Value::None {
        Default::default()
    } else {
        buffer(*bytes)?
    };
    let offset_at = |row: usize| {
        let start = row.checked_mul(width)?;
        let mut whole = [0; 8];
        whole[..width].copy_from_slice(offsets.get(start..start.checked_add(width)?)?);
        usize::try_from(u64::from_le_bytes(whole)).ok()
    };
    let end = offset
        .checked_add(length)
        .ok_or_else(|| bad("beyond this machine's memory"))?;
    // The file contains one offset per row, so a wrong length is detected before memory is allocated for it.
    offset_at(end).ok_or_else(|| bad("that is shorter than its length"))?;
    (offset..end)
        .map(|row| {
            if let Some(bits) = &valid {
                let byte = bits
                    .get(row / 8)
                    .ok_or_else(|| bad("whose mask of missing values is too short"))?;
                if byte & (1 << (row % 8)) == 0 {
                    budget.take(std::mem::size_of::<Option<String>>())?;
                    return Ok(None);
                }
            }
            let span = offset_at(row)
                .zip(offset_at(row + 1))
                .and_then(|(from, to)| bytes.get(from..to));
            budget.take(std::mem::size_of::<Option<String>>() + span.map_or(0, <[u8]>::len))?;
            let text = span.and_then(|span| std::str::from_utf8(span).ok());
            text.map(|text| Some(text.to_owned()))
                .ok_or_else(|| bad("whose texts lie outside its data"))
        })
        .collect()
}
