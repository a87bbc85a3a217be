//! JSON: a list of objects, or an object of columns as pandas writes it. JSONL: one object per line.

use std::borrow::Cow;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::DatasetError;
use super::table::{Cell, Table};

/// Reads a whole JSON text.
pub(super) fn read(text: &[u8], path: &Path, wanted: &[&str]) -> Result<Table, DatasetError> {
    let text = mended(text);
    let mut json = serde_json::Deserializer::from_slice(&text);
    let table = (&mut json).deserialize_any(Whole { wanted });
    match table.and_then(|table| json.end().map(|()| table)) {
        Ok(table) if table.rows == 0 && table.names.iter().any(|name| name == "data") => Err(bad(
            path,
            "its rows are under \"data\"; write them as a plain list of objects, for example with pandas: \
             to_json(new_file, orient=\"records\")",
        )),
        Ok(table) => check(table, path),
        // JSONL in a file with the wrong name.
        Err(_) if is_lines(&text) => read_lines(&text, path, wanted),
        Err(error) => Err(bad(path, &error.to_string())),
    }
}

/// Whether the first line is a complete object and another one follows.
fn is_lines(text: &[u8]) -> bool {
    let mut objects = serde_json::Deserializer::from_slice(text).into_iter::<serde_json::Map<_, _>>();
    let is_object = |object: Option<Result<serde_json::Map<String, serde_json::Value>, _>>| {
        object.is_some_and(|object| object.is_ok())
    };
    is_object(objects.next()) && is_object(objects.next())
}

/// The text without a byte order mark, with Python's `NaN` and `Infinity` replaced by `null`, and with lone
/// surrogates replaced by the replacement character. None of these is valid JSON, but tools write all of
/// them.
fn mended(text: &[u8]) -> Cow<'_, [u8]> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut out: Option<Vec<u8>> = None;
    let (mut at, mut kept, mut in_text) = (0, 0, false);
    while at < text.len() {
        let rest = &text[at..];
        let (replaced, by): (usize, &[u8]) = match rest[0] {
            b'"' => {
                in_text = !in_text;
                (0, b"")
            }
            b'\\' if in_text => match lone_surrogate(rest) {
                true => (6, b"\\ufffd"),
                false => {
                    // An escaped character does not end the string; a surrogate pair is skipped as a whole.
                    at += if is_surrogate(rest, 0xd8..=0xdb) { 11 } else { 1 };
                    (0, b"")
                }
            },
            b'N' | b'I' | b'-' if !in_text => ["NaN", "-NaN", "Infinity", "-Infinity"]
                .iter()
                .find(|word| rest.starts_with(word.as_bytes()))
                .map_or((0, b"".as_slice()), |word| (word.len(), b"null")),
            _ => (0, b""),
        };
        if replaced > 0 {
            let out = out.get_or_insert_with(Vec::new);
            out.extend_from_slice(&text[kept..at]);
            out.extend_from_slice(by);
            at += replaced;
            kept = at;
        } else {
            at += 1;
        }
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.extend_from_slice(&text[kept..]);
            Cow::Owned(out)
        }
    }
}

/// Whether `rest` begins with an escape like `\ud83d` whose high byte is in the range.
fn is_surrogate(rest: &[u8], high: std::ops::RangeInclusive<u8>) -> bool {
    rest.get(..6)
        .and_then(|escape| escape.strip_prefix(b"\\u"))
        .and_then(|digits| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
        .is_some_and(|code| high.contains(&code.to_be_bytes()[0]))
}

/// Whether `rest` begins with a lone surrogate.
fn lone_surrogate(rest: &[u8]) -> bool {
    if is_surrogate(rest, 0xdc..=0xdf) {
        return true;
    }
    is_surrogate(rest, 0xd8..=0xdb) && !rest.get(6..).is_some_and(|next| is_surrogate(next, 0xdc..=0xdf))
}

/// Reads one object per line; empty lines are skipped.
pub(super) fn read_lines(text: &[u8], path: &Path, wanted: &[&str]) -> Result<Table, DatasetError> {
    let text = mended(text);
    let mut table = Table::default();
    let mut lines = Vec::new();
    for (at, line) in text.split(|b| *b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let mut json = serde_json::Deserializer::from_slice(line);
        let row = Row {
            wanted,
            table: &mut table,
        }
        .deserialize(&mut json)
        .and_then(|()| json.end());
        // The parser counts lines from the start of this one.
        row.map_err(|e| bad(path, &format!("line {}, column {}: {e}", at + 1, e.column())))?;
        lines.push(at as u64 + 1);
    }
    table.lines = Some(lines);
    check(table, path)
}

fn bad(path: &Path, what: &str) -> DatasetError {
    DatasetError::Format {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

/// Columns in JSON written by pandas differ in length only if the file was edited.
fn check(table: Table, path: &Path) -> Result<Table, DatasetError> {
    for (name, cells) in &table.columns {
        if cells.len() != table.rows {
            return Err(bad(
                path,
                &format!("column {name} has {} rows of {}", cells.len(), table.rows),
            ));
        }
    }
    Ok(table)
}

/// The whole file: a list of rows, or an object of columns.
struct Whole<'a> {
    wanted: &'a [&'a str],
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Table;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of objects, one per sample, or an object of columns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Table, A::Error> {
        let mut table = Table::default();
        while seq
            .next_element_seed(Row {
                wanted: self.wanted,
                table: &mut table,
            })?
            .is_some()
        {}
        Ok(table)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
        let mut table = Table::default();
        while let Some(name) = map.next_key::<String>()? {
            if self.wanted.contains(&name.as_str()) {
                let cells = map.next_value::<ColumnCells>()?.0;
                table.rows = table.rows.max(cells.len());
                table.columns.push((name.clone(), cells));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            table.names.push(name);
        }
        Ok(table)
    }
}

/// A column: a list, or an object of row label to value.
struct ColumnCells(Vec<Cell>);

impl<'de> serde::Deserialize<'de> for ColumnCells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Cells;
        impl<'de> Visitor<'de> for Cells {
            type Value = Vec<Cell>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a column: a list of values, or an object of row label to value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Cell>, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = seq.next_element()? {
                    cells.push(cell);
                }
                Ok(cells)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Cell>, A::Error> {
                let mut cells = Vec::new();
                while let Some((_label, cell)) = map.next_entry::<IgnoredAny, Cell>()? {
                    cells.push(cell);
                }
                Ok(cells)
            }
        }
        deserializer.deserialize_any(Cells).map(ColumnCells)
    }
}

/// One object, added to the table as a row. A key that a row lacks is an empty cell.
struct Row<'a, 't> {
    wanted: &'a [&'a str],
    table: &'t mut Table,
}

impl<'de> DeserializeSeed<'de> for Row<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with the columns of one sample")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let table = self.table;
        let row = table.rows;
        while let Some(name) = map.next_key::<String>()? {
            if !table.names.contains(&name) {
                table.names.push(name.clone());
            }
            if !self.wanted.contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let at = table
                .columns
                .iter()
                .position(|(n, _)| *n == name)
                .unwrap_or_else(|| {
                    table.columns.push((name, vec![Cell::Null; row]));
                    table.columns.len() - 1
                });
            let cell = map.next_value()?;
            let cells = &mut table.columns[at].1;
            // The last of two equal keys wins, as in every JSON reader.
            cells.truncate(row);
            cells.push(cell);
        }
        table.rows += 1;
        for (_, cells) in &mut table.columns {
            cells.resize(table.rows, Cell::Null);
        }
        Ok(())
    }
}
