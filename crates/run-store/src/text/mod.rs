//! The text formats CSV, JSON and Prometheus text, which differ only in the format of a row.

mod csv;
mod growing;
mod json;
pub mod prometheus;
mod store;

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::assemble::Assembler;
use super::atomic::replace_file;
use super::files::RunFiles;
use super::format::StoreFormat;
use super::manifest;
use super::table::Row;
use run_model::{BatchRow, EngineRequestRow, EventRow, Manifest, RequestRow, StepRow};
use run_model::{Error, Result};

pub(crate) use self::store::create;

/// `2025-06-01T12:00:00.123456789Z`.
pub(crate) fn time_text(ns: i64) -> String {
    let time = Timestamp::from_nanosecond(ns.into()).expect("64 bits of nanoseconds lie within jiff's range");
    format!("{time:.9}")
}

/// The inverse of [`time_text`]; any offset is accepted. A time without one, of another program, is taken as UTC.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let time = text.parse::<Timestamp>().or_else(|error| {
        let wall: Result<DateTime, _> = text.parse();
        wall.and_then(|wall| Ok(wall.to_zoned(TimeZone::UTC)?.timestamp()))
            .map_err(|_| format!("`{text}` is not a time: {error}"))
    })?;
    i64::try_from(time.as_nanosecond()).map_err(|_| format!("the time `{text}` is out of range"))
}

/// The stamp of a run that began then.
pub(crate) fn stamp(ns: i64) -> String {
    let time = Timestamp::from_nanosecond(ns.into()).expect("64 bits of nanoseconds lie within jiff's range");
    time.to_zoned(TimeZone::UTC).strftime("%Y%m%d_%H%M%S").to_string()
}

/// The shortest text that parses to the same number, including `NaN`, `inf`, `-inf` and `-0.0`.
pub(crate) fn value_text(value: f64) -> String {
    format!("{value:?}")
}

/// The inverse of [`value_text`]; also accepts `+Inf`, `-Inf` and `Infinity`.
pub(crate) fn parse_value(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

/// The error's text with its column only: the parser was given one line, and counts it as the first.
fn without_line(error: &serde_json::Error) -> String {
    let (text, column) = (error.to_string(), error.column());
    let position = format!(" at line {} column {column}", error.line());
    text.strip_suffix(&position)
        .map_or(text.clone(), |text| format!("{text} at column {column}"))
}

/// The manifest is a separate file: other tools would fail on it inside the samples file of these formats.
pub(crate) fn manifest_path(files: &RunFiles) -> PathBuf {
    let mut name = files.samples().into_os_string();
    name.push(".manifest");
    PathBuf::from(name)
}

fn write_manifest(files: &RunFiles, manifest: &Manifest) -> Result<PathBuf> {
    use std::io::Write as _;
    let path = manifest_path(files);
    replace_file(&path, manifest.ended_ns.is_some(), |out| {
        writeln!(out, "{}", manifest::to_json(manifest)).map_err(Error::io("write", &path))
    })?;
    Ok(path)
}

/// Reads every table of the run into `run`.
pub(crate) fn read(files: &RunFiles, run: &mut Assembler) -> Result<()> {
    let path = manifest_path(files);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let manifest = manifest::from_json(&text).map_err(|error| Error::Format {
                path: path.clone(),
                format: "manifest",
                reason: error.to_string(),
            })?;
            run.manifest = Some(manifest);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            run.notes
                .push(format!("the manifest {} is missing", path.display()));
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    }
    let opened = growing::contents(&files.samples(), run)?;
    if opened.is_empty() {
        run.notes.push(format!(
            "the samples file {} is missing",
            files.samples().display()
        ));
    }
    for (path, bytes) in opened {
        read_samples(path, files.format, &bytes, run)?;
    }
    run.requests = rows::<RequestRow>(files, run)?;
    run.batches = rows::<BatchRow>(files, run)?;
    run.steps = rows::<StepRow>(files, run)?;
    run.engine_requests = rows::<EngineRequestRow>(files, run)?;
    run.events = rows::<EventRow>(files, run)?;
    Ok(())
}

/// Reads the samples of one file, of this program or of another one.
pub(crate) fn read_samples(
    path: PathBuf,
    format: StoreFormat,
    bytes: &[u8],
    run: &mut Assembler,
) -> Result<()> {
    let (format, result) = match format {
        StoreFormat::Json => ("JSON", json::read_samples(bytes, run)),
        StoreFormat::PrometheusText => ("Prometheus text", prometheus::read_samples(bytes, run)),
        _ => ("CSV", csv::read_samples(bytes, run)),
    };
    result.map_err(|reason| Error::Format { path, format, reason })
}

fn rows<R: Row>(files: &RunFiles, run: &mut Assembler) -> Result<Vec<R>> {
    let mut rows = Vec::new();
    for (path, bytes) in growing::contents(&files.table(R::TABLE), run)? {
        let (format, result) = match files.format {
            StoreFormat::Json => ("JSON", json::read_rows(&bytes, &mut rows)),
            _ => ("CSV", csv::read_rows(&bytes, &mut rows)),
        };
        result.map_err(|reason| Error::Format { path, format, reason })?;
    }
    Ok(rows)
}

/// Start of the rows in a file, to distinguish a joined file from a live one.
fn body_start(path: &Path, bytes: &[u8]) -> usize {
    let find = |needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle);
    match StoreFormat::from_path(path) {
        Some(StoreFormat::PrometheusText) => find(prometheus::MARK.as_bytes()).unwrap_or(bytes.len()),
        _ => find(b"\n").map_or(bytes.len(), |at| at + 1),
    }
}
