//! JSON: a list of objects, or an object of columns as pandas writes it; and JSONL, one object per line.

use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::DatasetError;
use super::table::{Cell, Table};

/// Reads a whole JSON text.
pub(super) fn read(text: &[u8], path: &Path, wanted: &[&str]) -> Result<Table, DatasetError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let table = (&mut json).deserialize_any(Whole { wanted });
    let table = table
        .and_then(|table| json.end().map(|()| table))
        .map_err(|e| bad(path, &e.to_string()))?;
    check(table, path)
}

/// Reads one object per line; empty lines are skipped.
pub(super) fn read_lines(text: &[u8], path: &Path, wanted: &[&str]) -> Result<Table, DatasetError> {
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
        // The reader counts lines from the start of this one.
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

/// Columns of pandas' own JSON may differ in length only if someone edited the file.
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
