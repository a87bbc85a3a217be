//! A dataset file as columns of cells, independent of its format, and the conversion of rows to prompts.

use std::path::Path;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::error::DatasetError;
use super::{Columns, Prompt};

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Text(String),
    /// A list of integers that fit a token id.
    Ids(Vec<i32>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Something that cannot be part of a prompt; its kind, for a message.
    Other(&'static str),
}

impl Cell {
    fn kind(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Text(text) => {
                let head: String = text.chars().take(40).collect();
                format!("the text {head:?}")
            }
            Self::Ids(ids) => format!("a list of {} integers", ids.len()),
            Self::Int(n) => format!("the number {n}"),
            Self::Float(x) => format!("the number {x}"),
            Self::Bool(b) => b.to_string(),
            Self::Other(kind) => (*kind).to_owned(),
        }
    }
}

/// The columns of a file that a prompt could be made of, and the names of all columns.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// All column names of the file, in order.
    pub(super) names: Vec<String>,
    /// The requested columns that exist.
    pub(super) columns: Vec<(String, Vec<Cell>)>,
    pub(super) rows: usize,
    /// Line of each row, for text formats.
    pub(super) lines: Option<Vec<u64>>,
}

impl Table {
    pub(super) fn new(names: Vec<String>, wanted: &[&str]) -> Self {
        let columns = names.iter().filter(|n| wanted.contains(&n.as_str()));
        Self {
            columns: columns.map(|n| (n.clone(), Vec::new())).collect(),
            names,
            rows: 0,
            lines: None,
        }
    }

    fn take(&mut self, name: &str) -> Option<(String, Vec<Cell>)> {
        let at = self.columns.iter().position(|(n, _)| n == name)?;
        Some(self.columns.swap_remove(at))
    }

    /// Converts the rows to prompts.
    pub(super) fn into_prompts(
        mut self,
        path: &Path,
        columns: &Columns,
    ) -> Result<Vec<Prompt>, DatasetError> {
        if self.rows == 0 {
            return Err(DatasetError::Empty {
                path: path.to_owned(),
            });
        }
        let ids = self.choose(
            path,
            columns.input_ids.as_deref(),
            super::INPUT_IDS_COLUMNS,
            "--input-ids-column",
        )?;
        let text = self.choose(
            path,
            columns.input.as_deref(),
            super::INPUT_COLUMNS,
            "--input-column",
        )?;
        let reference = self.choose(
            path,
            columns.output.as_deref(),
            super::OUTPUT_COLUMNS,
            "--output-column",
        )?;
        let reference_ids = self.choose(path, None, super::OUTPUT_IDS_COLUMNS, "")?;
        let part = self.choose(path, None, super::PART_COLUMNS, "")?;
        if ids.is_none() && text.is_none() {
            let usual = [super::INPUT_IDS_COLUMNS, super::INPUT_COLUMNS]
                .concat()
                .join(", ");
            return Err(DatasetError::NoColumn {
                path: path.to_owned(),
                wanted: format!("of prompts (usual names: {usual})"),
                flag: "--input-ids-column (token ids) or --input-column (text)",
                found: self.names,
            });
        }
        let mut prompts = vec![Prompt::default(); self.rows];
        let lines = self.lines.take();
        let place = |row: usize| match lines.as_ref().and_then(|l| l.get(row)) {
            Some(line) => format!("line {line}"),
            None => format!("row {}", row + 1),
        };
        let bad = |column: &str, row: usize, expected: &'static str, found: String| DatasetError::Cell {
            path: path.to_owned(),
            place: place(row),
            column: column.to_owned(),
            expected,
            found,
        };
        let with_ids = ids.is_some();
        if let Some((column, cells)) = ids {
            for (row, cell) in cells.into_iter().enumerate() {
                let ids = token_ids(cell).map_err(|found| {
                    bad(
                        &column,
                        row,
                        "a list of token ids, not empty, each from 0 to 2147483647",
                        found,
                    )
                })?;
                prompts[row].token_ids = ids;
            }
        }
        if let Some((column, cells)) = text {
            for (row, cell) in cells.into_iter().enumerate() {
                match cell {
                    Cell::Text(text) => prompts[row].text = Some(text),
                    // If there are token ids, the text is only informative.
                    Cell::Null if with_ids => {}
                    other => return Err(bad(&column, row, "the text of a prompt", other.kind())),
                }
            }
        }
        if let Some((column, cells)) = reference {
            for (row, cell) in cells.into_iter().enumerate() {
                prompts[row].reference = match cell {
                    Cell::Text(text) => Some(text),
                    Cell::Null => None,
                    // Some tables store answers as numbers.
                    Cell::Int(n) => Some(n.to_string()),
                    Cell::Float(x) => Some(x.to_string()),
                    Cell::Bool(b) => Some(b.to_string()),
                    other => return Err(bad(&column, row, "the text of a reference answer", other.kind())),
                };
            }
        }
        if let Some((column, cells)) = reference_ids {
            for (row, cell) in cells.into_iter().enumerate() {
                prompts[row].reference_ids =
                    match cell {
                        Cell::Null => None,
                        cell => Some(token_ids(cell).map_err(|found| {
                            bad(&column, row, "the token ids of a reference answer", found)
                        })?),
                    };
            }
        }
        if let Some((column, cells)) = part {
            for (row, cell) in cells.into_iter().enumerate() {
                match cell {
                    Cell::Text(name) => prompts[row].part = Some(name),
                    Cell::Other(kind) => {
                        return Err(bad(
                            &column,
                            row,
                            "the name of a part of the dataset",
                            kind.to_owned(),
                        ));
                    }
                    // A numeric column of this name is something else.
                    _ => {}
                }
            }
        }
        Ok(prompts)
    }

    /// The column that was requested by name, which must exist, or else the first existing default.
    fn choose(
        &mut self,
        path: &Path,
        asked: Option<&str>,
        usual: &[&str],
        flag: &'static str,
    ) -> Result<Option<(String, Vec<Cell>)>, DatasetError> {
        let Some(asked) = asked else {
            return Ok(usual.iter().find_map(|name| self.take(name)));
        };
        match self.take(asked) {
            Some(column) => Ok(Some(column)),
            None => Err(DatasetError::NoColumn {
                path: path.to_owned(),
                wanted: asked.to_owned(),
                flag,
                found: std::mem::take(&mut self.names),
            }),
        }
    }
}

/// The ids of a cell: a list, or a text that contains one, as in CSV files. The error describes the cell's
/// content.
fn token_ids(cell: Cell) -> Result<Vec<i32>, String> {
    let ids = match cell {
        Cell::Ids(ids) => ids,
        Cell::Text(text) => match parse_ids(&text) {
            Some(ids) => ids,
            None => return Err(Cell::Text(text).kind()),
        },
        other => return Err(other.kind()),
    };
    match ids.iter().find(|id| **id < 0) {
        Some(id) => Err(format!("the id {id}")),
        None if ids.is_empty() => Err("an empty list".to_owned()),
        None => Ok(ids),
    }
}

/// Converts a float without a fraction to a token id.
pub(super) fn whole(x: f64) -> Option<i32> {
    (x.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&x)).then_some(x as i32)
}

/// `[1, 2, 3]`, `1 2 3` or `1,2,3`.
fn parse_ids(text: &str) -> Option<Vec<i32>> {
    let inner = text.trim();
    let inner = inner
        .strip_prefix('[')
        .map_or(Some(inner), |rest| rest.strip_suffix(']'))?;
    let words = inner
        .split(|c: char| c == ',' || c.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    words.map(|word| word.parse().ok()).collect()
}

/// Deserializes any JSON value as a cell. Only the kind of an unsupported value is kept.
impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Cell, E> {
        Ok(Cell::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Cell, E> {
        Ok(i64::try_from(v).map_or(Cell::Other("a number too large"), Cell::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Cell, E> {
        Ok(Cell::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Cell, E> {
        Ok(Cell::Text(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Cell, E> {
        Ok(Cell::Text(v))
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
        let mut ids = Vec::new();
        let mut other = false;
        while let Some(item) = seq.next_element::<Cell>()? {
            match item {
                Cell::Int(n) if !other => match i32::try_from(n) {
                    Ok(id) => ids.push(id),
                    Err(_) => other = true,
                },
                // Some tools write ids as floats after they passed through a column of floats.
                Cell::Float(x) if !other => match whole(x) {
                    Some(id) => ids.push(id),
                    None => other = true,
                },
                _ => other = true,
            }
        }
        Ok(if other {
            Cell::Other("a list of other things than token ids")
        } else {
            Cell::Ids(ids)
        })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map
            .next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?
            .is_some()
        {}
        Ok(Cell::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_text() {
        assert_eq!(parse_ids("[1, 2,3]"), Some(vec![1, 2, 3]));
        assert_eq!(parse_ids(" 1 2\n3 "), Some(vec![1, 2, 3]));
        for wrong in ["[1", "1;2", "[1.0]", "x", "[99999999999]"] {
            assert_eq!(parse_ids(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn any_json_is_a_cell() {
        for (text, cell) in [
            ("null", Cell::Null),
            ("\"a\\n\"", Cell::Text("a\n".to_owned())),
            ("[1,-2]", Cell::Ids(vec![1, -2])),
            ("[]", Cell::Ids(vec![])),
            (
                "[1,\"a\",[{}]]",
                Cell::Other("a list of other things than token ids"),
            ),
            (
                "[4294967296]",
                Cell::Other("a list of other things than token ids"),
            ),
            ("{\"a\":[1]}", Cell::Other("an object")),
            ("-7", Cell::Int(-7)),
            ("0.5", Cell::Float(0.5)),
            ("true", Cell::Bool(true)),
        ] {
            assert_eq!(serde_json::from_str::<Cell>(text).unwrap(), cell, "{text}");
        }
    }
}
