//! CSV with a header line. Cells are text; a column of token ids contains lists in any of the usual
//! notations.

use std::path::Path;

use super::error::DatasetError;
use super::table::{Cell, Table};

/// Reads a whole CSV text.
pub(super) fn read(text: &[u8], path: &Path, wanted: &[&str]) -> Result<Table, DatasetError> {
    let bad = |e: csv::Error| DatasetError::Format {
        path: path.to_owned(),
        what: e.to_string(),
    };
    let mut reader = csv::Reader::from_reader(text);
    let names: Vec<String> = reader
        .headers()
        .map_err(bad)?
        .iter()
        .map(|n| n.trim().to_owned())
        .collect();
    let mut table = Table::new(names, wanted);
    let positions: Vec<usize> = table
        .columns
        .iter()
        .map(|(name, _)| table.names.iter().position(|n| n == name).unwrap_or(usize::MAX))
        .collect();
    let mut lines = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(bad)? {
        for ((_, cells), at) in table.columns.iter_mut().zip(&positions) {
            let text = record.get(*at).unwrap_or_default();
            cells.push(if text.is_empty() {
                Cell::Null
            } else {
                Cell::Text(text.to_owned())
            });
        }
        lines.push(record.position().map_or(0, csv::Position::line));
        table.rows += 1;
    }
    table.lines = Some(lines);
    Ok(table)
}
