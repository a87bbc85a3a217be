//! CSV (RFC 4180): a header, then one line per row. An empty cell is an absent value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord};
use serde::de::IgnoredAny;

use super::super::assemble::Assembler;
use super::super::table::{Cell, Cells, Column, Kind, Row};
use super::{parse_time, parse_value, time_text, value_text};
use run_model::SeriesDef;

pub(crate) const SAMPLES_HEADER: &str =
    "timestamp,metric_name,value,labels,metric_type,unit,source,endpoint_url,phase\r\n";

/// Header line of a table.
pub(crate) fn header<R: Row>() -> String {
    R::COLUMNS
        .iter()
        .map(|column| column.name)
        .collect::<Vec<_>>()
        .join(",")
        + "\r\n"
}

/// Writes a field, quoted if necessary.
fn field(out: &mut String, text: &str) {
    let quote = text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ');
    if quote {
        let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
    } else {
        out.push_str(text);
    }
}

/// The constant parts of the lines of one series: the text before and after its value.
pub(crate) struct SeriesText {
    before: String,
    after: String,
}

impl SeriesText {
    pub(crate) fn new(def: &SeriesDef) -> Self {
        let mut before = String::from(",");
        field(&mut before, &def.metric_name);
        before.push(',');
        let mut after = String::from(",");
        for text in [
            &def.labels,
            def.metric_type.as_str(),
            &def.unit,
            &def.source,
            &def.endpoint_url,
        ] {
            field(&mut after, text);
            after.push(',');
        }
        Self { before, after }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, time: &str, value: f64, phase: &str) {
        for text in [time, &self.before, &value_text(value), &self.after, phase, "\r\n"] {
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// A phase as written in the lines.
pub(crate) fn phase_text(phase: &str) -> String {
    let mut text = String::new();
    field(&mut text, phase);
    text
}

pub(crate) fn write_row<R: Row>(out: &mut Vec<u8>, row: &R) {
    let mut line = String::new();
    for column in 0..R::COLUMNS.len() {
        if column > 0 {
            line.push(',');
        }
        match row.cell(column) {
            Cell::Absent => {}
            Cell::Time(ns) => line.push_str(&time_text(ns)),
            Cell::Nanos(ns) => drop(write!(line, "{ns}")),
            Cell::Count(n) => drop(write!(line, "{n}")),
            Cell::Real(value) => line.push_str(&value_text(value)),
            Cell::Text(text) => field(&mut line, &text),
        }
    }
    line.push_str("\r\n");
    out.extend_from_slice(line.as_bytes());
}

pub(crate) fn read_samples(bytes: &[u8], run: &mut Assembler) -> Result<(), String> {
    let (mut time_seen, mut time_ns) = (String::new(), 0);
    let header = |header: &StringRecord| {
        let columns = [
            "timestamp",
            "metric_name",
            "value",
            "labels",
            "metric_type",
            "unit",
            "source",
            "endpoint_url",
            "phase",
        ]
        .map(|name| header.iter().position(|found| found == name));
        for (column, name) in columns.iter().zip(["timestamp", "metric_name", "value"]) {
            column.ok_or_else(|| format!("it has no column {name}"))?;
        }
        Ok(columns)
    };
    read_records(bytes, header, |columns, record| {
        let text = |index: usize| {
            columns[index]
                .and_then(|column: usize| record.get(column))
                .unwrap_or_default()
        };
        if text(0) != time_seen {
            time_ns = parse_time(text(0))?;
            text(0).clone_into(&mut time_seen);
        }
        let value = parse_value(text(2))?;
        let labels = if text(3).is_empty() { "{}" } else { text(3) };
        let texts = [text(1), labels, text(4), text(5), text(6), text(7)];
        let series = run.series_of(texts, |labels| {
            // A damaged quote joins this row and the next one in this cell.
            let is_damaged = labels.contains('\n')
                && serde_json::from_str::<BTreeMap<Cow<'_, str>, IgnoredAny>>(labels).is_err();
            match is_damaged {
                true => Err("the quotes around its labels are damaged".to_owned()),
                false => Ok(()),
            }
        })?;
        let phase = run.phase(text(8));
        run.push(series, time_ns, value, phase);
        Ok(())
    })
}

pub(crate) fn read_rows<R: Row>(bytes: &[u8], rows: &mut Vec<R>) -> Result<(), String> {
    let header = |header: &StringRecord| {
        let column = |column: &Column| match header.iter().position(|name| name == column.name) {
            None if column.required => Err(format!("it has no column {}", column.name)),
            at => Ok(at),
        };
        R::COLUMNS.iter().map(column).collect::<Result<Vec<_>, _>>()
    };
    read_records(bytes, header, |columns, record| {
        let mut cells = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().zip(R::COLUMNS) {
            let text = at.and_then(|at| record.get(at)).unwrap_or_default();
            cells.push(if text.is_empty() {
                Cell::Absent
            } else {
                parse_cell(text, column.kind)?
            });
        }
        rows.push(R::from_cells(&mut Cells::new(cells, R::COLUMNS))?);
        Ok(())
    })
}

/// Reads the header, then each record. An error names the line in which the record begins.
fn read_records<C>(
    bytes: &[u8],
    header: impl FnOnce(&StringRecord) -> Result<C, String>,
    mut each: impl FnMut(&C, &StringRecord) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = ReaderBuilder::new().from_reader(bytes);
    let names = reader.headers().map_err(|error| damage(bytes, &error))?;
    // A quote that is damaged or added joins the header and rows.
    let joined = names.iter().any(|name| name.contains('\n'));
    let columns = if joined {
        Err("a name in the header is not closed".to_owned())
    } else {
        header(names)
    };
    let columns = columns.map_err(|reason| at_line(bytes, names.position(), &reason))?;
    let mut record = StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| damage(bytes, &error))?
    {
        each(&columns, &record).map_err(|reason| at_line(bytes, record.position(), &reason))?;
    }
    Ok(())
}

fn damage(bytes: &[u8], error: &csv::Error) -> String {
    let reason = match error.kind() {
        ErrorKind::Utf8 { err, .. } => err.to_string(),
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("it has {len} fields, where the header has {expected_len}")
        }
        _ => error.to_string(),
    };
    at_line(bytes, error.position(), &reason)
}

/// The position is that after the record before, of whose line end a part may be left; so its line is not used.
fn at_line(bytes: &[u8], position: Option<&Position>, reason: &str) -> String {
    let after = position.map_or(0, |position| position.byte() as usize);
    let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    let begin = after + bytes[after..].iter().take_while(is_line_end).count();
    let line = 1 + bytes[..begin].iter().filter(|&&byte| byte == b'\n').count();
    format!("line {line}: {reason}")
}

fn parse_cell(text: &str, kind: Kind) -> Result<Cell<'_>, String> {
    Ok(match kind {
        Kind::Time => Cell::Time(parse_time(text)?),
        Kind::Nanos => Cell::Nanos(
            text.parse()
                .map_err(|_| format!("`{text}` is not a whole number"))?,
        ),
        Kind::Count => Cell::Count(text.parse().map_err(|_| format!("`{text}` is not a count"))?),
        Kind::Real => Cell::Real(parse_value(text)?),
        Kind::Text => Cell::Text(text.into()),
    })
}
