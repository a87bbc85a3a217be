//! Reads a database: ours, also after a kill, and one table of samples that another program wrote.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::super::assemble::Assembler;
use super::super::files::RunFiles;
use super::super::manifest::{self, MANIFEST_KEY};
use super::super::table::{Cell, Cells, Kind, Row};
use super::super::text::parse_time;
use super::column_name;
use run_model::{
    BatchRow, EngineRequestRow, Error, EventRow, MetricType, RequestRow, Result, SeriesDef, StepRow,
};

/// Files that a kill can leave next to a database, and that belong to its content.
const COMPANIONS: [&str; 2] = ["-journal", "-wal"];

/// Reads the whole database into `run`. A log or journal left by a kill is read as well, and stays as it is.
pub(crate) fn read(files: &RunFiles, run: &mut Assembler) -> Result<()> {
    read_with(&files.samples(), run, read_database)
}

/// Reads the table `metrics` with the columns `timestamp`, `metric_name`, `value` and `labels` of another program's
/// database into `run`.
pub(crate) fn read_foreign(path: &Path, run: &mut Assembler) -> Result<()> {
    read_with(path, run, read_table)
}

fn read_with(
    path: &Path,
    run: &mut Assembler,
    read: fn(&Connection, &mut Assembler) -> Result<(), Reason>,
) -> Result<()> {
    let readable = recovered(path)?;
    let place = readable.as_ref().map_or(path, |copy| &copy.database);
    open_to_read(place)
        .map_err(Reason::from)
        .and_then(|database| read(&database, run))
        .map_err(|Reason(reason)| Error::Format {
            path: path.to_path_buf(),
            format: "SQLite",
            reason,
        })
}

fn read_table(database: &Connection, run: &mut Assembler) -> Result<(), Reason> {
    let mut query =
        database.prepare("SELECT timestamp, metric_name, value, labels FROM metrics ORDER BY rowid")?;
    let mut rows = query.query([])?;
    let phase = run.phase("");
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        let at_row = |reason: String| Reason(format!("row {number}: {reason}"));
        let (time, name): (String, String) = (row.get(0)?, row.get(1)?);
        let labels: Option<String> = row.get(3)?;
        let time_ns = parse_time(&time).map_err(at_row)?;
        let labels = labels.as_deref().unwrap_or("{}");
        let series = run.series_of([&name, labels, "", "", "", ""], |_| Ok(()));
        let series = series.map_err(at_row)?;
        // SQLite has no NaN: it stores NULL.
        let value: Option<f64> = row.get(2)?;
        run.push(series, time_ns, value.unwrap_or(f64::NAN), phase);
    }
    Ok(())
}

/// A copy of a database in a temporary folder, which is removed with it.
struct Copied {
    database: PathBuf,
    _folder: tempfile::TempDir,
}

/// A copy of the database with its journal rolled back, if it cannot be read where it is: SQLite changes the file for
/// that, or creates the index of its log in the same folder.
fn recovered(path: &Path) -> Result<Option<Copied>> {
    let needs_writing = match probe(path) {
        Ok(()) => return Ok(None),
        Err(error) => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen)
        ),
    };
    let companion = |name: &str| {
        let mut path = path.as_os_str().to_owned();
        path.push(name);
        PathBuf::from(path)
    };
    if !needs_writing || !COMPANIONS.iter().any(|name| companion(name).exists()) {
        // The reader reports the error.
        return Ok(None);
    }
    let folder = tempfile::tempdir().map_err(Error::io("create", &std::env::temp_dir()))?;
    let database = folder.path().join("run.db");
    copy(path, &database)?;
    for name in COMPANIONS {
        let from = companion(name);
        if from.exists() {
            let to = folder.path().join(format!("run.db{name}"));
            copy(&from, &to)?;
        }
    }
    // Rolls the journal back, or merges the log.
    let opened = Connection::open(&database);
    opened
        .and_then(|database| read_schema(&database))
        .map_err(|error| Error::Format {
            path: path.to_path_buf(),
            format: "SQLite",
            reason: format!("the journal next to it, left by a kill, cannot be applied: {error}"),
        })?;
    Ok(Some(Copied {
        database,
        _folder: folder,
    }))
}

/// Copies the content only: the copy of a read-only file must be writable.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = File::open(from)
        .and_then(|mut from| std::io::copy(&mut from, &mut File::create(to)?))
        .map_err(Error::io("copy", from))?;
    tracing::debug!(from = %from.display(), copied, "copied to apply its journal");
    Ok(())
}

fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Whether the database can be read where it is.
fn probe(path: &Path) -> rusqlite::Result<()> {
    read_schema(&open_to_read(path)?)
}

fn read_schema(database: &Connection) -> rusqlite::Result<()> {
    database.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
}

fn read_database(database: &Connection, run: &mut Assembler) -> Result<(), Reason> {
    let json: String = database.query_row(
        "SELECT value FROM manifest WHERE key = ?",
        params![MANIFEST_KEY],
        |row| row.get(0),
    )?;
    run.manifest =
        Some(manifest::from_json(&json).map_err(|error| format!("its manifest is damaged: {error}"))?);
    read_samples(database, run)?;
    run.requests = read_rows::<RequestRow>(database)?;
    run.batches = read_rows::<BatchRow>(database)?;
    run.steps = read_rows::<StepRow>(database)?;
    run.engine_requests = read_rows::<EngineRequestRow>(database)?;
    run.events = read_rows::<EventRow>(database)?;
    Ok(())
}

/// Why a database could not be read.
struct Reason(String);

impl From<rusqlite::Error> for Reason {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Reason {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

fn read_samples(database: &Connection, run: &mut Assembler) -> Result<(), Reason> {
    let mut series = HashMap::new();
    let mut query = database.prepare(
        "SELECT series_id, metric_name, labels, metric_type, unit, source, endpoint_url FROM series",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let get = |column: usize| row.get::<_, String>(column);
        let def = SeriesDef {
            metric_name: get(1)?.into(),
            labels: get(2)?.into(),
            metric_type: MetricType::from_text(&get(3)?).unwrap_or(MetricType::Unknown),
            unit: get(4)?.into(),
            source: get(5)?.into(),
            endpoint_url: get(6)?.into(),
        };
        series.insert(row.get::<_, i64>(0)?, def);
    }
    let mut phases = HashMap::new();
    let mut query = database.prepare("SELECT phase_id, phase FROM phases")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        phases.insert(row.get::<_, i64>(0)?, run.phase(&name));
    }
    let mut known: HashMap<i64, usize> = HashMap::new();
    let mut query = database
        .prepare("SELECT series_id, timestamp_ns, value, phase_id, value_text FROM samples ORDER BY rowid")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let index = match known.get(&id) {
            Some(&index) => index,
            None => {
                let def = series
                    .remove(&id)
                    .ok_or_else(|| format!("a sample refers to series {id}, which is absent"))?;
                *known.entry(id).or_insert(run.series(def))
            }
        };
        let phase: i64 = row.get(3)?;
        let phase = phases
            .get(&phase)
            .ok_or_else(|| format!("a sample refers to phase {phase}, which is absent"))?;
        let value = match row.get_ref(4)? {
            ValueRef::Text(b"-0.0") => -0.0,
            ValueRef::Text(b"NaN") => f64::NAN,
            _ => row.get(2)?,
        };
        run.push(index, row.get(1)?, value, *phase);
    }
    Ok(())
}

fn read_rows<R: Row>(database: &Connection) -> Result<Vec<R>, Reason> {
    // Databases written before a table was introduced lack it.
    let known = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?";
    let tables: i64 = database.query_row(known, params![R::TABLE], |row| row.get(0))?;
    if tables == 0 {
        return Ok(Vec::new());
    }
    let columns: Vec<_> = R::COLUMNS
        .iter()
        .map(|column| format!("\"{}\"", column_name(column)))
        .collect();
    let sql = format!("SELECT {} FROM {} ORDER BY rowid", columns.join(", "), R::TABLE);
    let mut query = database.prepare(&sql)?;
    let mut found = query.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let mut cells = Vec::with_capacity(R::COLUMNS.len());
        for (index, column) in R::COLUMNS.iter().enumerate() {
            cells.push(match (row.get::<_, Value>(index)?, column.kind) {
                (Value::Null, _) => Cell::Absent,
                (Value::Integer(ns), Kind::Time) => Cell::Time(ns),
                (Value::Integer(ns), Kind::Nanos) => Cell::Nanos(ns),
                (Value::Integer(n), Kind::Count) => Cell::Count(n.cast_unsigned()),
                (Value::Real(value), Kind::Real) => Cell::Real(value),
                (Value::Text(text), Kind::Text) => Cell::Text(text.into()),
                (other, _) => return Err(Reason(format!("column {} holds {other:?}", column.name))),
            });
        }
        rows.push(R::from_cells(&mut Cells::new(cells, R::COLUMNS))?);
    }
    Ok(rows)
}
