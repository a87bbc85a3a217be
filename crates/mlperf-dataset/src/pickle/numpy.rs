//! Extracts numpy arrays from the recorded calls of a pickle: numbers as raw bytes, objects as lists.

use std::borrow::Cow;

use super::PickleError;
use super::heap::{Heap, Value};
use super::names::Global;
use crate::table::{Cell, whole};

/// Element type of raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dtype {
    /// numpy's letter: `i` signed, `u` unsigned, `f` float, `b` bool, `O` objects; others are opaque.
    pub(super) kind: u8,
    /// Bytes of an element.
    pub(super) size: usize,
    big_endian: bool,
}

/// Where the elements are.
#[derive(Debug)]
enum Data<'a, 'h> {
    Objects(&'h [Value]),
    Raw(Cow<'a, [u8]>),
}

/// An array of one or two dimensions.
#[derive(Debug)]
pub(super) struct Array<'a, 'h> {
    pub(super) shape: Vec<usize>,
    /// Whether the array is in Fortran order (the first index varies fastest).
    fortran: bool,
    pub(super) dtype: Dtype,
    data: Data<'a, 'h>,
}

impl<'a, 'h> Array<'a, 'h> {
    /// Finds an array in a value; `None` when the value is not an array.
    pub(super) fn find(heap: &'h Heap<'a>, value: Value) -> Option<Result<Self, PickleError>> {
        let object = heap.object(value)?;
        match object.callable {
            Global::Reconstruct => Some(Self::reconstructed(heap, object.state)),
            Global::FromBuffer => Some(Self::from_buffer(heap, heap.call(value, Global::FromBuffer)?)),
            // Texts of pandas without pyarrow: the state is (dtype, array of objects).
            Global::NdArrayBacked if class_of(heap, value) == Some(Global::StringArray) => {
                let [_, array, ..] = object.state.and_then(|state| heap.items(state))? else {
                    return None;
                };
                match heap.object(*array)?.callable {
                    Global::Reconstruct | Global::FromBuffer => Self::find(heap, *array),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// State: (version, shape, dtype, fortran, list of objects or bytes).
    fn reconstructed(heap: &'h Heap<'a>, state: Option<Value>) -> Result<Self, PickleError> {
        let state = state.and_then(|s| heap.items(s)).unwrap_or_default();
        let [_, shape, dtype, Value::Bool(fortran), data] = state else {
            return Err(PickleError::bad("an array without the state that numpy gives it"));
        };
        let dtype = find_dtype(heap, *dtype)?;
        let data = if dtype.kind == b'O' {
            let Value::List(_) = data else {
                return Err(PickleError::bad("an array of objects whose data is not a list"));
            };
            Data::Objects(heap.items(*data).unwrap_or_default())
        } else {
            Data::Raw(find_bytes(heap, *data)?)
        };
        Self::checked(heap, *shape, *fortran, dtype, data)
    }

    /// Arguments: (buffer, dtype, shape, "C" or "F").
    fn from_buffer(heap: &'h Heap<'a>, args: &[Value]) -> Result<Self, PickleError> {
        let [buffer, dtype, shape, order] = args else {
            return Err(PickleError::bad(
                "an array from a buffer without its four arguments",
            ));
        };
        let dtype = find_dtype(heap, *dtype)?;
        let data = Data::Raw(find_bytes(heap, *buffer)?);
        Self::checked(heap, *shape, heap.str(*order) == Some("F"), dtype, data)
    }

    fn checked(
        heap: &Heap<'a>,
        shape: Value,
        fortran: bool,
        dtype: Dtype,
        data: Data<'a, 'h>,
    ) -> Result<Self, PickleError> {
        let sizes = heap.items(shape).unwrap_or_default();
        let shape: Option<Vec<usize>> = sizes
            .iter()
            .map(|n| match n {
                Value::Int(n) => usize::try_from(*n).ok(),
                _ => None,
            })
            .collect();
        let shape = shape.filter(|s| (1..=2).contains(&s.len()));
        let shape = shape.ok_or_else(|| PickleError::bad("an array that has not one or two dimensions"))?;
        let count = shape.iter().try_fold(1usize, |n, m| n.checked_mul(*m));
        let there = match &data {
            Data::Objects(items) => Some(items.len()),
            Data::Raw(bytes) if dtype.size > 0 => Some(bytes.len() / dtype.size),
            Data::Raw(_) => None,
        };
        if count.is_none() || there.is_some() && there != count {
            return Err(PickleError::bad(
                "an array whose data has not the size of its shape",
            ));
        }
        Ok(Self {
            shape,
            fortran,
            dtype,
            data,
        })
    }

    /// The element at (`item`, `row`) of a two-dimensional array, or at `row` of a one-dimensional one.
    pub(super) fn cell(&self, heap: &Heap<'a>, item: usize, row: usize) -> Result<Cell, PickleError> {
        let at = match self.shape.as_slice() {
            [items, rows] if item < *items && row < *rows => {
                if self.fortran {
                    row * items + item
                } else {
                    item * rows + row
                }
            }
            [rows] if item == 0 && row < *rows => row,
            _ => return Err(PickleError::bad("an array that is smaller than its table")),
        };
        match &self.data {
            Data::Objects(values) => object_cell(heap, values[at]),
            Data::Raw(bytes) => {
                let size = self.dtype.size;
                Ok(raw_cell(self.dtype, &bytes[at * size..(at + 1) * size]))
            }
        }
    }

    /// The elements of a one-dimensional integer array.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let Data::Raw(bytes) = &self.data else { return None };
        // numpy has no integers without bytes, but a file can state them.
        if self.shape.len() != 1 || !matches!(self.dtype.kind, b'i' | b'u') || self.dtype.size == 0 {
            return None;
        }
        bytes
            .chunks_exact(self.dtype.size)
            .map(|element| match raw_cell(self.dtype, element) {
                Cell::Int(n) => Some(n),
                _ => None,
            })
            .collect()
    }
}

/// The class of one of pandas' own arrays.
pub(super) fn class_of(heap: &Heap<'_>, value: Value) -> Option<Global> {
    match heap.call(value, Global::NdArrayBacked)? {
        [Value::Global(class), ..] => Some(*class),
        _ => None,
    }
}

/// An element of a column of objects.
pub(super) fn object_cell(heap: &Heap<'_>, value: Value) -> Result<Cell, PickleError> {
    Ok(match value {
        Value::None => Cell::Null,
        Value::Bool(b) => Cell::Bool(b),
        Value::Int(n) => Cell::Int(n),
        // pandas' marker for a missing value.
        Value::Float(x) if x.is_nan() => Cell::Null,
        Value::Float(x) => Cell::Float(x),
        Value::Str(_) => Cell::Text(heap.str(value).unwrap_or_default().to_owned()),
        Value::List(_) | Value::Tuple(_) => {
            let items = heap.items(value).unwrap_or_default();
            let ids: Result<Option<Vec<i32>>, PickleError> = items
                .iter()
                .map(|item| match item {
                    Value::Int(n) => Ok(i32::try_from(*n).ok()),
                    Value::Float(x) => Ok(whole(*x)),
                    other => Ok(match scalar(heap, *other).transpose()? {
                        Some(Cell::Int(n)) => i32::try_from(n).ok(),
                        Some(Cell::Float(x)) => whole(x),
                        _ => None,
                    }),
                })
                .collect();
            ids?.map_or(Cell::Other("a list of other things than token ids"), Cell::Ids)
        }
        Value::Dict(_) => Cell::Other("a dict"),
        Value::Bytes(_) => Cell::Other("bytes"),
        Value::Global(_) => Cell::Other("a name"),
        Value::Other(kind) => Cell::Other(kind),
        Value::Object(_) => {
            if let Some(cell) = scalar(heap, value) {
                return cell;
            }
            match Array::find(heap, value) {
                Some(array) => {
                    let ids = array?.integers().and_then(|numbers| {
                        numbers
                            .into_iter()
                            .map(|n| i32::try_from(n).ok())
                            .collect::<Option<Vec<i32>>>()
                    });
                    ids.map_or(Cell::Other("an array of other things than token ids"), Cell::Ids)
                }
                None => Cell::Other("an object"),
            }
        }
    })
}

/// A numpy scalar: `scalar(dtype, bytes)`.
fn scalar(heap: &Heap<'_>, value: Value) -> Option<Result<Cell, PickleError>> {
    let [dtype, bytes] = heap.call(value, Global::Scalar)? else {
        return Some(Err(PickleError::bad("a numpy scalar without its two arguments")));
    };
    let cell = find_dtype(heap, *dtype).and_then(|dtype| {
        if dtype.kind == b'O' {
            return Ok(Cell::Other("a numpy object"));
        }
        let bytes = find_bytes(heap, *bytes)?;
        if bytes.len() != dtype.size {
            return Err(PickleError::bad(
                "a numpy scalar whose data has not the size of its type",
            ));
        }
        Ok(raw_cell(dtype, &bytes))
    });
    Some(cell)
}

fn raw_cell(dtype: Dtype, element: &[u8]) -> Cell {
    let mut bytes = [0u8; 8];
    if element.len() > 8 || element.is_empty() {
        return Cell::Other("a value of another type");
    }
    bytes[..element.len()].copy_from_slice(element);
    if dtype.big_endian {
        bytes[..element.len()].reverse();
    }
    let unsigned = u64::from_le_bytes(bytes);
    let unused = 64 - 8 * element.len();
    match (dtype.kind, element.len()) {
        // Shifts the sign bit to the top and back, which extends the sign.
        (b'i', _) => Cell::Int(((unsigned << unused) as i64) >> unused),
        (b'u', _) => i64::try_from(unsigned).map_or(Cell::Other("a number too large"), Cell::Int),
        (b'b', 1) => Cell::Bool(unsigned != 0),
        (b'f', 8) => float(f64::from_le_bytes(bytes)),
        (b'f', 4) => float(f64::from(f32::from_le_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3],
        ]))),
        _ => Cell::Other("a value of another type"),
    }
}

fn float(x: f64) -> Cell {
    if x.is_nan() { Cell::Null } else { Cell::Float(x) }
}

/// `dtype("i8", False, True)` with state `(3, "<", …)`.
fn find_dtype(heap: &Heap<'_>, value: Value) -> Result<Dtype, PickleError> {
    let bad = || PickleError::bad("an array type that numpy does not write");
    let args = heap.call(value, Global::Dtype).ok_or_else(bad)?;
    let name = args.first().and_then(|name| heap.str(*name)).ok_or_else(bad)?;
    let kind = *name.as_bytes().first().ok_or_else(bad)?;
    // A kind is an ASCII letter, so slicing after it is at a character boundary.
    let rest = name.get(1..).ok_or_else(bad)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let mut size: usize = if digits.is_empty() {
        8
    } else {
        digits.parse().map_err(|_| bad())?
    };
    if kind == b'U' {
        size = size.checked_mul(4).ok_or_else(bad)?;
    }
    let state = heap
        .object(value)
        .and_then(|o| o.state)
        .and_then(|s| heap.items(s))
        .unwrap_or_default();
    let big_endian = state.get(1).and_then(|order| heap.str(*order)) == Some(">");
    Ok(Dtype {
        kind,
        size,
        big_endian,
    })
}

/// Bytes, or bytes as protocols before 5 write them: `_codecs.encode(text, "latin1")`, `bytes()`, and a
/// `bytearray` of either.
pub(super) fn find_bytes<'a>(heap: &Heap<'a>, value: Value) -> Result<Cow<'a, [u8]>, PickleError> {
    // One level only: a table contains no deeper nesting of bytes.
    let value = match heap.call(value, Global::ByteArrayClass) {
        Some([inner]) => *inner,
        Some([]) => return Ok(Cow::Borrowed(&[])),
        _ => value,
    };
    if let Some(bytes) = heap.raw_bytes(value) {
        return Ok(Cow::Borrowed(bytes));
    }
    if heap
        .call(value, Global::BytesClass)
        .is_some_and(<[Value]>::is_empty)
    {
        return Ok(Cow::Borrowed(&[]));
    }
    if let Some([text, codec]) = heap.call(value, Global::Encode)
        && heap.str(*codec) == Some("latin1")
        && let Some(text) = heap.str(*text)
    {
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        return bytes
            .map(Cow::Owned)
            .ok_or_else(|| PickleError::bad("bytes with characters beyond latin1"));
    }
    Err(PickleError::Bad(format!(
        "expected bytes, found {}",
        heap.kind(value)
    )))
}
