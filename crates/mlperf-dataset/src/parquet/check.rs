//! Checks a file's footer and page headers before the Parquet library allocates what they ask for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::thrift::{LIST, Malformed, Reader, STRUCT};

/// Deepest nesting of columns.
const DEPTH: usize = 32;
/// Bytes that are read for a page header at first; statistics can make it longer.
const HEADER: usize = 1 << 10;
/// Largest page of a small file, in bytes. Writers make pages of about a megabyte, or one per row group.
const LARGEST_PAGE: u64 = 64 << 20;
/// Memory per value while a page is decoded: the value, its levels and its place in an array.
const PER_VALUE: u64 = 16;

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// A read failed.
    Io(std::io::Error),
    /// The reason, for the error message.
    Because(String),
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        because("its footer is damaged")
    }
}

fn because(reason: impl Into<String>) -> Refused {
    Refused::Because(reason.into())
}

/// What a file may need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most bytes of all decoded data.
    pub(super) budget: u64,
    /// Most times that a page may be as large as the whole file, if that is more than 64 MiB.
    pub(super) expansion: u64,
}

/// A column of a row group.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chunk {
    /// The name of the top-level column.
    column: Vec<u8>,
    start: u64,
    len: u64,
}

/// Checks the footer, and the pages of the wanted columns. Returns the size of the largest page.
///
/// # Errors
/// When the file is damaged or would need more memory than the limits allow.
pub(super) fn check(file: &mut File, wanted: &[&str], limits: Limits) -> Result<u64, Refused> {
    let file_len = file.metadata()?.len();
    let footer = footer(file, file_len)?;
    let chunks = chunks(&footer, file_len)?;
    let page_limit = LARGEST_PAGE.max(file_len.saturating_mul(limits.expansion));
    let (mut largest, mut bytes, mut values) = (0, 0_u64, 0_u64);
    for chunk in chunks
        .iter()
        .filter(|chunk| wanted.iter().any(|name| name.as_bytes() == chunk.column))
    {
        let mut at = chunk.start;
        while at < chunk.start + chunk.len {
            let Some(page) = page(file, at, chunk.start + chunk.len - at)? else {
                // The Parquet library reports what is wrong with it.
                break;
            };
            largest = largest.max(page.size);
            bytes = bytes.saturating_add(page.size);
            values = values.saturating_add(page.values);
            if page.size > page_limit {
                return Err(because(format!(
                    "it has a page of {} bytes; in a file of this size, at most {page_limit} are read",
                    page.size
                )));
            }
            if bytes.max(values.saturating_mul(PER_VALUE)) > limits.budget {
                return Err(because(format!(
                    "what it holds is more than {} times as large as the file",
                    limits.expansion
                )));
            }
            at += page.header + page.packed;
        }
    }
    Ok(largest)
}

/// The bytes of the footer; empty if the file has none, which the Parquet library reports.
fn footer(file: &mut File, file_len: u64) -> Result<Vec<u8>, Refused> {
    let Some(before_tail) = file_len.checked_sub(8) else {
        return Ok(Vec::new());
    };
    let mut tail = [0; 8];
    file.seek(SeekFrom::Start(before_tail))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    let len = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(start) = before_tail
        .checked_sub(len)
        .filter(|_| &magic == b"PAR1" && len > 0)
    else {
        return Ok(Vec::new());
    };
    file.seek(SeekFrom::Start(start))?;
    let mut footer = Vec::new();
    file.take(len).read_to_end(&mut footer)?;
    Ok(footer)
}

fn chunks(footer: &[u8], file_len: u64) -> Result<Vec<Chunk>, Refused> {
    let mut chunks = Vec::new();
    if footer.is_empty() {
        return Ok(chunks);
    }
    let mut children = Vec::new();
    Reader::new(footer).fields(|reader, id, kind| match (id, kind) {
        (2, LIST) => structs(reader, |reader| {
            let mut count = 0;
            reader.fields(|reader, id, kind| integer(reader, (id, kind), 5, &mut count))?;
            children.push(count);
            Ok(())
        }),
        (4, LIST) => structs(reader, |group| {
            group.fields(|group, id, kind| match (id, kind) {
                (1, LIST) => structs(group, |column| {
                    chunks.push(chunk(column, file_len)?);
                    Ok(())
                }),
                _ => Ok(false),
            })
        }),
        _ => Ok(false),
    })?;
    check_tree(&children)?;
    Ok(chunks)
}

/// Reads every struct of a list.
fn structs(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(&mut Reader<'_>) -> Result<(), Malformed>,
) -> Result<bool, Malformed> {
    let (kind, count) = reader.list()?;
    if kind != STRUCT {
        return Err(Malformed);
    }
    for _ in 0..count {
        each(reader)?;
    }
    Ok(true)
}

/// Reads a field into `value` if it is the wanted integer.
fn integer(
    reader: &mut Reader<'_>,
    (id, kind): (i64, u8),
    wanted: i64,
    value: &mut i64,
) -> Result<bool, Malformed> {
    let found = id == wanted && (4..=6).contains(&kind);
    if found {
        *value = reader.integer()?;
    }
    Ok(found)
}

/// A `ColumnChunk`; its range must lie within the file.
fn chunk(reader: &mut Reader<'_>, file_len: u64) -> Result<Chunk, Malformed> {
    let mut chunk = Chunk::default();
    let (mut len, mut data, mut dictionary) = (0, 0, 0);
    reader.fields(|reader, id, kind| {
        if (id, kind) != (3, STRUCT) {
            return Ok(false);
        }
        reader.fields(|reader, id, kind| {
            if (id, kind) == (3, LIST) {
                let (kind, count) = reader.list()?;
                for at in 0..count {
                    if kind != 8 {
                        return Err(Malformed);
                    }
                    let name = reader.binary()?;
                    if at == 0 {
                        chunk.column = name.to_vec();
                    }
                }
                return Ok(true);
            }
            Ok(integer(reader, (id, kind), 7, &mut len)?
                || integer(reader, (id, kind), 9, &mut data)?
                || integer(reader, (id, kind), 11, &mut dictionary)?)
        })?;
        Ok(true)
    })?;
    let start = if dictionary == 0 { data } else { dictionary };
    chunk.start = u64::try_from(start).map_err(|_| Malformed)?;
    chunk.len = u64::try_from(len).map_err(|_| Malformed)?;
    match chunk.start.checked_add(chunk.len) {
        Some(end) if end <= file_len => Ok(chunk),
        _ => Err(Malformed),
    }
}

/// The schema is a tree in depth-first order, each element with its number of children.
fn check_tree(children: &[i64]) -> Result<(), Refused> {
    // Children that are still to come, for each element from the root to the current one.
    let mut open: Vec<usize> = Vec::new();
    for (at, count) in children.iter().enumerate() {
        let count = usize::try_from(*count)
            .ok()
            .filter(|count| *count < children.len())
            .ok_or(Malformed)?;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        } else if at > 0 {
            return Err(Malformed.into());
        }
        if count > 0 {
            open.push(count);
        }
        if open.len() > DEPTH {
            return Err(because(format!(
                "its columns are nested deeper than {DEPTH} levels"
            )));
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Ok(())
}

/// A page, by its header.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    header: u64,
    packed: u64,
    size: u64,
    values: u64,
}

/// The page at an offset; `None` if there is no valid header.
fn page(file: &mut File, at: u64, left: u64) -> Result<Option<Page>, Refused> {
    let mut window = HEADER;
    loop {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        (&mut *file)
            .take(left.min(window as u64))
            .read_to_end(&mut bytes)?;
        if let Ok(page) = page_of(&bytes) {
            return Ok(Some(page));
        }
        if bytes.len() < window {
            return Ok(None);
        }
        window = window.saturating_mul(16);
    }
}

fn page_of(bytes: &[u8]) -> Result<Page, Malformed> {
    let mut reader = Reader::new(bytes);
    let (mut size, mut packed, mut values) = (0, 0, 0);
    reader.fields(|reader, id, kind| {
        // The headers of a data page, a dictionary page and a data page of version 2.
        if matches!(id, 5 | 7 | 8) && kind == STRUCT {
            reader.fields(|reader, id, kind| integer(reader, (id, kind), 1, &mut values))?;
            return Ok(true);
        }
        Ok(integer(reader, (id, kind), 2, &mut size)? || integer(reader, (id, kind), 3, &mut packed)?)
    })?;
    let positive = |n: i64| u64::try_from(n).map_err(|_| Malformed);
    Ok(Page {
        header: reader.position() as u64,
        packed: positive(packed)?,
        size: positive(size)?,
        values: positive(values)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_header_gives_its_sizes() {
        // type 0; 300 bytes unpacked, 20 packed; 7 values.
        let header = [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 40, 0x2c, 0x15, 14, 0, 0, 99];
        let page = page_of(&header).unwrap();
        assert_eq!(
            page,
            Page {
                header: 12,
                packed: 20,
                size: 300,
                values: 7
            }
        );
        assert_eq!(page_of(&header[..8]), Err(Malformed));
        let negative = [0x15, 0, 0x15, 1, 0x15, 40, 0];
        assert_eq!(page_of(&negative), Err(Malformed));
    }

    #[test]
    fn a_schema_is_a_tree_of_bounded_depth() {
        assert!(check_tree(&[2, 0, 1, 0]).is_ok());
        let mut chain = vec![1; DEPTH + 1];
        chain.push(0);
        for wrong in [&[1_i64 << 31, 0][..], &[-1, 0], &[1, 0, 0], &chain] {
            assert!(check_tree(wrong).is_err(), "{wrong:?}");
        }
    }
}
