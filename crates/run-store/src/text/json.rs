//! JSON: one array of objects, one object per line. Numbers that JSON lacks are `null` with their name in
//! `value_text`; other absent or empty members are omitted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::assemble::Assembler;
use super::super::table::{Cell, Cells, Kind, Row};
use super::{parse_time, parse_value, time_text, value_text};
use run_model::SeriesDef;

/// Text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text always serialises")
}

/// The constant parts of the objects of one series: the text before and after its value.
pub(crate) struct SeriesText {
    before: String,
    after: String,
}

impl SeriesText {
    /// Fails if the labels are not a JSON object, since they would corrupt the file.
    pub(crate) fn new(def: &SeriesDef) -> Result<Self, String> {
        let labels: HashMap<Cow<'_, str>, Cow<'_, str>> =
            serde_json::from_str(&def.labels).map_err(|error| {
                format!(
                    "labels of {} are not a JSON object of strings: {error}",
                    def.metric_name
                )
            })?;
        drop(labels);
        let mut after = format!(
            ",\"labels\":{},\"metric_type\":\"{}\"",
            // A line break between tokens is valid JSON but would violate one object per line.
            def.labels.replace(['\n', '\r'], " "),
            def.metric_type.as_str()
        );
        for (key, text) in [
            ("unit", &def.unit),
            ("source", &def.source),
            ("endpoint_url", &def.endpoint_url),
        ] {
            if !text.is_empty() {
                after += &format!(",\"{key}\":{}", quoted(text));
            }
        }
        Ok(Self {
            before: format!(",\"metric_name\":{},\"value\":", quoted(&def.metric_name)),
            after,
        })
    }

    /// Writes one object; `phase` comes from [`phase_text`].
    pub(crate) fn write(&self, out: &mut Vec<u8>, time: &str, value: f64, phase: &str) {
        let value = if value.is_finite() {
            value_text(value)
        } else {
            format!("null,\"value_text\":\"{}\"", value_text(value))
        };
        for text in [
            "{\"timestamp\":\"",
            time,
            "\"",
            &self.before,
            &value,
            &self.after,
            phase,
            "}",
        ] {
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// A phase as written at the end of an object.
pub(crate) fn phase_text(phase: &str) -> String {
    if phase.is_empty() {
        String::new()
    } else {
        format!(",\"phase\":{}", quoted(phase))
    }
}

pub(crate) fn write_row<R: Row>(out: &mut Vec<u8>, row: &R) {
    let mut separator = '{';
    for (index, column) in R::COLUMNS.iter().enumerate() {
        let text = match row.cell(index) {
            Cell::Absent => continue,
            Cell::Time(ns) => format!("\"{}\"", time_text(ns)),
            Cell::Nanos(ns) => ns.to_string(),
            Cell::Count(n) => n.to_string(),
            Cell::Real(value) => value_text(value),
            Cell::Text(text) => quoted(&text),
        };
        write!(out, "{separator}\"{}\":{text}", column.name).expect("writing to memory does not fail");
        separator = ',';
    }
    out.push(b'}');
}

#[derive(Deserialize)]
struct SampleObject<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    metric_name: Cow<'a, str>,
    value: Option<f64>,
    #[serde(borrow)]
    value_text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metric_type: Cow<'a, str>,
    #[serde(borrow, default)]
    unit: Cow<'a, str>,
    #[serde(borrow, default)]
    source: Cow<'a, str>,
    #[serde(borrow, default)]
    endpoint_url: Cow<'a, str>,
    #[serde(borrow, default)]
    phase: Cow<'a, str>,
}

/// Passes each element of an array to a closure, without keeping all of them.
struct Each<F, T>(F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> Visitor<'de> for Each<F, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(object) = seq.next_element()? {
            (self.0)(object).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

/// Reads an array of objects. An error names the line of the object that is wrong.
fn read_array<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    mut each: impl FnMut(T) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    reader
        .deserialize_seq(Each(&mut each, PhantomData))
        .and_then(|()| reader.end())
        .map_err(|error| wrong_line(bytes, each).unwrap_or_else(|| error.to_string()))
}

/// The first line that is not what [`read_array`] expects there, with the reason. serde_json names the place where it
/// noticed the damage, which may be a line further on: it reads a string without its closing quote up to the line's end.
/// `None` for a file that is not one object per line, or whose lines are all sound.
fn wrong_line<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    mut each: impl FnMut(T) -> Result<(), String>,
) -> Option<String> {
    let is_object = |line: &[u8]| line.starts_with(b"{") && (line.ends_with(b"}") || line.ends_with(b"},"));
    let lines: Vec<&[u8]> = bytes
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .collect();
    let last_object = lines.iter().rposition(|line| is_object(line))?;
    let begin = lines.iter().position(|line| line.starts_with(b"[")).unwrap_or(0);
    let end = lines.iter().rposition(|line| !line.is_empty())?;
    let mut check = |index: usize, mut line: &'de [u8]| -> Result<(), String> {
        if index == begin {
            line = line.strip_prefix(b"[").ok_or("`[` expected")?;
        }
        if index == end {
            line = line.strip_suffix(b"]").ok_or("`]` expected")?;
        }
        if line.is_empty() {
            return Ok(());
        }
        let object = match line.strip_suffix(b",") {
            None if index < last_object => return Err("`},` expected at its end".into()),
            object => object.unwrap_or(line),
        };
        each(serde_json::from_slice(object).map_err(|error| super::without_line(&error))?)
    };
    lines.iter().enumerate().find_map(|(index, line)| {
        let reason = check(index, line).err()?;
        Some(format!("line {}: {reason}", index + 1))
    })
}

pub(crate) fn read_samples(bytes: &[u8], run: &mut Assembler) -> Result<(), String> {
    let (mut time_seen, mut time_ns) = (String::new(), 0);
    read_array(bytes, |object: SampleObject<'_>| {
        if object.timestamp != time_seen {
            time_ns = parse_time(&object.timestamp)?;
            time_seen = object.timestamp.into_owned();
        }
        let value = match (object.value, &object.value_text) {
            (Some(value), _) => value,
            (None, Some(text)) => parse_value(text)?,
            (None, None) => return Err(format!("a sample of {} has no value", object.metric_name)),
        };
        let labels = object.labels.map_or("{}", RawValue::get);
        let texts = [
            &object.metric_name,
            labels,
            &object.metric_type,
            &object.unit,
            &object.source,
            &object.endpoint_url,
        ];
        let series = run.series_of(texts, |_| Ok(()))?;
        let phase = run.phase(&object.phase);
        run.push(series, time_ns, value, phase);
        Ok(())
    })
}

pub(crate) fn read_rows<R: Row>(bytes: &[u8], rows: &mut Vec<R>) -> Result<(), String> {
    read_array(bytes, |object: HashMap<String, Value>| {
        let mut cells = Vec::with_capacity(R::COLUMNS.len());
        for column in R::COLUMNS {
            let cell = match (object.get(column.name), column.kind) {
                (None | Some(Value::Null), _) => Some(Cell::Absent),
                (Some(Value::String(text)), Kind::Time) => Some(Cell::Time(parse_time(text)?)),
                (Some(Value::String(text)), Kind::Text) => Some(Cell::Text(text.as_str().into())),
                (Some(Value::Number(n)), Kind::Nanos) => n.as_i64().map(Cell::Nanos),
                (Some(Value::Number(n)), Kind::Count) => n.as_u64().map(Cell::Count),
                (Some(Value::Number(n)), Kind::Real) => n.as_f64().map(Cell::Real),
                _ => None,
            };
            cells.push(cell.ok_or_else(|| format!("member {} has the wrong type", column.name))?);
        }
        rows.push(R::from_cells(&mut Cells::new(cells, R::COLUMNS))?);
        Ok(())
    })
}
