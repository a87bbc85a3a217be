//! CSV (RFC 4180): a header, then one line per row. An empty cell is an absent value.

use std::fmt::Write as _;

use csv::{ReaderBuilder, StringRecord};

use super::super::assemble::Assembler;
use super::super::table::{Cell, Cells, Kind, Row};
use super::{parse_time, parse_value, time_text, value_text};
use run_model::{MetricType, SeriesDef};

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

/// Column numbers of `names`; `None` for missing ones.
fn columns<const N: usize>(header: &StringRecord, names: [&str; N]) -> [Option<usize>; N] {
    names.map(|name| header.iter().position(|found| found == name))
}

pub(crate) fn read_samples(bytes: &[u8], run: &mut Assembler) -> Result<(), String> {
    let mut reader = ReaderBuilder::new().from_reader(bytes);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let columns = columns(
        &header,
        [
            "timestamp",
            "metric_name",
            "value",
            "labels",
            "metric_type",
            "unit",
            "source",
            "endpoint_url",
            "phase",
        ],
    );
    for (column, name) in columns.iter().zip(["timestamp", "metric_name", "value"]) {
        column.ok_or_else(|| format!("it has no column {name}"))?;
    }
    let mut record = StringRecord::new();
    let (mut time_seen, mut time_ns) = (String::new(), 0);
    while reader
        .read_record(&mut record)
        .map_err(|error| error.to_string())?
    {
        let text = |index: usize| {
            columns[index]
                .and_then(|column| record.get(column))
                .unwrap_or_default()
        };
        if text(0) != time_seen {
            text(0).clone_into(&mut time_seen);
            time_ns = parse_time(text(0)).map_err(|reason| at_line(&record, &reason))?;
        }
        let value = parse_value(text(2)).map_err(|reason| at_line(&record, &reason))?;
        let series = run.series_of(
            [text(1), text(3), text(4), text(5), text(6), text(7)],
            |[name, labels, kind, unit, source, url]| SeriesDef {
                metric_name: name.into(),
                labels: if labels.is_empty() { "{}" } else { labels }.into(),
                metric_type: MetricType::from_text(kind).unwrap_or(MetricType::Unknown),
                unit: unit.into(),
                source: source.into(),
                endpoint_url: url.into(),
            },
        );
        let phase = run.phase(text(8));
        run.push(series, time_ns, value, phase);
    }
    Ok(())
}

fn at_line(record: &StringRecord, reason: &str) -> String {
    format!(
        "line {}: {reason}",
        record.position().map_or(0, csv::Position::line)
    )
}

pub(crate) fn read_rows<R: Row>(bytes: &[u8], rows: &mut Vec<R>) -> Result<(), String> {
    let mut reader = ReaderBuilder::new().from_reader(bytes);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let columns: Vec<_> = R::COLUMNS
        .iter()
        .map(|column| header.iter().position(|name| name == column.name))
        .collect();
    let mut record = StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| error.to_string())?
    {
        let mut cells = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().zip(R::COLUMNS) {
            let text = at.and_then(|at| record.get(at)).unwrap_or_default();
            let cell = if text.is_empty() {
                Ok(Cell::Absent)
            } else {
                parse_cell(text, column.kind)
            };
            cells.push(cell.map_err(|reason| at_line(&record, &reason))?);
        }
        let row =
            R::from_cells(&mut Cells::new(cells, R::COLUMNS)).map_err(|reason| at_line(&record, &reason))?;
        rows.push(row);
    }
    Ok(())
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
