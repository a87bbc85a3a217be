//! SQLite: one database file, readable during the run (write-ahead log, one transaction per flush).
//!
//! Samples refer to a series and a phase by number; the view `metrics` shows them in the long form. SQLite
//! has no NaN and no negative zero: such a value is stored as NULL or 0, with its text in `value_text`. Times
//! are whole nanoseconds (`*_ns`), and text in the view. The index by series is created at the end, since
//! keeping it up to date would rewrite a page per series at each flush.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, params, params_from_iter};

use super::assemble::Assembler;
use super::atomic::temporary_name;
use super::files::RunFiles;
use super::manifest::{self, MANIFEST_KEY};
use super::table::{Cell, Cells, Column, Kind, Row};
use super::{Store, StoreFiles, total_bytes};
use run_model::{
    BatchRow, EngineRequestRow, EventRow, Manifest, MetricType, Record, RequestRow, SeriesDef, StepRow,
};
use run_model::{Error, Result};

const SCHEMA: &str = "
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE phases (phase_id INTEGER PRIMARY KEY, phase TEXT NOT NULL);
CREATE TABLE series (
    series_id INTEGER PRIMARY KEY,
    metric_name TEXT NOT NULL,
    labels TEXT NOT NULL,
    metric_type TEXT NOT NULL,
    unit TEXT NOT NULL,
    source TEXT NOT NULL,
    endpoint_url TEXT NOT NULL
);
CREATE TABLE samples (
    series_id INTEGER NOT NULL,
    timestamp_ns INTEGER NOT NULL,
    value REAL,
    value_text TEXT,
    phase_id INTEGER NOT NULL
);
CREATE VIEW metrics AS SELECT
    strftime('%Y-%m-%dT%H:%M:%S', timestamp_ns / 1000000000, 'unixepoch')
        || printf('.%09dZ', timestamp_ns % 1000000000) AS timestamp,
    metric_name, value, labels, metric_type, unit, source, endpoint_url, phase, value_text, timestamp_ns
FROM samples JOIN series USING (series_id) JOIN phases USING (phase_id);
";

/// Name of a table's column: times and durations are whole nanoseconds, shown by the suffix.
fn column_name(column: &Column) -> String {
    match column.kind {
        Kind::Time => format!("{}_ns", column.name),
        _ => column.name.to_owned(),
    }
}

fn create_table<R: Row>() -> String {
    let columns = R::COLUMNS.iter().map(|column| {
        let kind = match column.kind {
            Kind::Text => "TEXT",
            Kind::Real => "REAL",
            Kind::Time | Kind::Nanos | Kind::Count => "INTEGER",
        };
        // Quoted, since `end` is an SQL keyword.
        format!(
            "\"{}\" {kind}{}",
            column_name(column),
            if column.required { " NOT NULL" } else { "" }
        )
    });
    format!(
        "CREATE TABLE {} ({});",
        R::TABLE,
        columns.collect::<Vec<_>>().join(", ")
    )
}

fn insert<R: Row>() -> String {
    format!(
        "INSERT INTO {} VALUES ({})",
        R::TABLE,
        vec!["?"; R::COLUMNS.len()].join(", ")
    )
}

/// The text of a value that SQLite cannot store exactly.
fn unkept(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == 0.0 && value.is_sign_negative() {
        Some("-0.0")
    } else {
        None
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Absent => ToSqlOutput::Owned(Value::Null),
            Cell::Time(ns) | Cell::Nanos(ns) => ToSqlOutput::Owned(Value::Integer(*ns)),
            // 64-bit ids keep their bits; those above 63 bits appear as negative numbers.
            Cell::Count(n) => ToSqlOutput::Owned(Value::Integer(n.cast_signed())),
            Cell::Real(value) => ToSqlOutput::Owned(Value::Real(*value)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// Writes one run into a database.
pub(crate) struct SqliteStore {
    path: PathBuf,
    database: Connection,
    phases: HashMap<Arc<str>, i64>,
    /// Highest id in `phases` at the last commit.
    committed_phase: i64,
    /// Records since the last commit.
    pending: Vec<Record>,
    /// The transaction with the pending records was rolled back, since the disk was full; they are written
    /// again at the next flush.
    rolled_back: bool,
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    // Another program that writes to the database must not block the run's writer for long.
    database.busy_timeout(Duration::from_millis(500))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // A kill of the process loses nothing in either mode; only a power cut could lose the last transactions.
    database.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(database)
}

/// Creates the tables, empty except for the manifest.
fn prepare(path: &Path, manifest: &Manifest) -> rusqlite::Result<()> {
    let mut database = open(path)?;
    let transaction = database.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    for table in [
        create_table::<RequestRow>(),
        create_table::<BatchRow>(),
        create_table::<StepRow>(),
        create_table::<EngineRequestRow>(),
        create_table::<EventRow>(),
    ] {
        transaction.execute_batch(&table)?;
    }
    transaction.execute(
        "INSERT INTO manifest VALUES (?, ?)",
        params![MANIFEST_KEY, manifest::to_json(manifest)],
    )?;
    transaction.commit()?;
    database.close().map_err(|(_, error)| error)
}

impl SqliteStore {
    pub(crate) fn create(files: &RunFiles, manifest: &Manifest) -> Result<Self> {
        let path = files.samples();
        // Created under a temporary name and renamed: setting up the log needs exclusive access, and a
        // program that finds the file must find its tables and no lock.
        let made = temporary_name(&path);
        prepare(&made, manifest).map_err(store_error(&made))?;
        std::fs::rename(&made, &path).map_err(Error::io("rename", &made))?;
        let database = open(&path).map_err(store_error(&path))?;
        Ok(Self {
            path,
            database,
            phases: HashMap::new(),
            committed_phase: 0,
            pending: Vec::new(),
            rolled_back: false,
        })
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        if self.database.is_autocommit() {
            self.database.execute_batch("BEGIN IMMEDIATE")?;
        }
        Ok(())
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        if !self.database.is_autocommit() {
            self.database.execute_batch("COMMIT")?;
        }
        self.committed_phase = self.phases.values().copied().max().unwrap_or(0);
        self.pending.clear();
        Ok(())
    }

    /// Gives the transaction up, if the error concerns the whole of it. True if it was given up.
    fn gives_up(&mut self, error: &rusqlite::Error) -> bool {
        let of_the_disk = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure)
        );
        if of_the_disk {
            if !self.database.is_autocommit()
                && let Err(error) = self.database.execute_batch("ROLLBACK")
            {
                tracing::debug!(path = %self.path.display(), %error, "the transaction was already rolled back");
            }
            self.rolled_back = true;
            let committed = self.committed_phase;
            self.phases.retain(|_, id| *id <= committed);
        }
        of_the_disk
    }

    /// Writes the pending records again if they were rolled back.
    fn catch_up(&mut self) -> rusqlite::Result<()> {
        if self.rolled_back {
            for record in self.pending.clone() {
                self.take(record)?;
            }
            self.rolled_back = false;
        }
        Ok(())
    }

    fn take(&mut self, record: Record) -> rusqlite::Result<()> {
        self.begin()?;
        match record {
            Record::Series(id, def) => {
                self.database
                    .prepare_cached("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?)")?
                    .execute(params![
                        id.0,
                        def.metric_name,
                        def.labels,
                        def.metric_type.as_str(),
                        def.unit,
                        def.source,
                        def.endpoint_url
                    ])?;
            }
            Record::Samples(batch) => {
                let phase = self.phase(&batch.phase)?;
                let mut insert = self
                    .database
                    .prepare_cached("INSERT INTO samples VALUES (?, ?, ?, ?, ?)")?;
                for sample in &batch.samples {
                    let value = (!sample.value.is_nan()).then_some(sample.value);
                    let text = unkept(sample.value);
                    insert.execute(params![sample.series.0, sample.timestamp_ns, value, text, phase])?;
                }
            }
            Record::Request(row) => self.insert(&row)?,
            Record::Batch(row) => self.insert(&row)?,
            Record::Step(row) => self.insert(&row)?,
            Record::EngineRequest(row) => self.insert(&row)?,
            Record::Event(row) => self.insert(&row)?,
        }
        Ok(())
    }

    fn phase(&mut self, name: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(&id) = self.phases.get(name) {
            return Ok(id);
        }
        self.database
            .execute("INSERT INTO phases (phase) VALUES (?)", params![name])?;
        let id = self.database.last_insert_rowid();
        self.phases.insert(Arc::clone(name), id);
        Ok(id)
    }

    fn insert<R: Row>(&self, row: &R) -> rusqlite::Result<()> {
        let cells = (0..R::COLUMNS.len()).map(|column| row.cell(column));
        self.database
            .prepare_cached(&insert::<R>())?
            .execute(params_from_iter(cells))?;
        Ok(())
    }

    /// Leaves one file, without the log.
    fn close(mut self, manifest: &Manifest) -> rusqlite::Result<PathBuf> {
        self.catch_up()?;
        self.begin()?;
        self.database
            .execute_batch("CREATE INDEX samples_by_series ON samples (series_id, timestamp_ns)")?;
        self.database.execute(
            "UPDATE manifest SET value = ? WHERE key = ?",
            params![manifest::to_json(manifest), MANIFEST_KEY],
        )?;
        self.commit()?;
        // Needs exclusive access. While another program reads the database the log file stays: nothing is
        // lost, and it is removed when that program closes the database.
        if let Err(error) = self.database.pragma_update(None, "journal_mode", "DELETE") {
            tracing::info!(path = %self.path.display(), %error, "the write-ahead log stays next to the database");
        }
        self.database.close().map_err(|(_, error)| error)?;
        Ok(self.path)
    }
}

impl Store for SqliteStore {
    fn write(&mut self, record: Record) -> Result<()> {
        let path = self.path.clone();
        self.pending.push(record.clone());
        if self.rolled_back {
            return Ok(());
        }
        match self.take(record) {
            Ok(()) => Ok(()),
            Err(error) if self.gives_up(&error) => {
                tracing::warn!(path = %path.display(), %error, "records are kept in memory until they can be written");
                Ok(())
            }
            Err(error) => {
                self.pending.pop();
                Err(store_error(&path)(error))
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        let path = self.path.clone();
        self.catch_up()
            .and_then(|()| self.commit())
            .inspect_err(|error| {
                self.gives_up(error);
            })
            .map_err(store_error(&path))
    }

    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles> {
        let path = self.path.clone();
        let path = self.close(manifest).map_err(store_error(&path))?;
        let all = vec![path.clone()];
        Ok(StoreFiles {
            total_bytes: total_bytes(&all)?,
            requests: Some(path.clone()),
            batches: Some(path.clone()),
            steps: Some(path.clone()),
            engine_requests: Some(path.clone()),
            events: Some(path.clone()),
            samples: path,
            all,
        })
    }
}

fn store_error(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    let target = path.display().to_string();
    move |error| Error::Store {
        target: target.clone(),
        reason: error.to_string(),
    }
}

/// Reads the whole database into `run`. Read-only: a log left by a kill is read as well and stays.
pub(crate) fn read(files: &RunFiles, run: &mut Assembler) -> Result<()> {
    let path = files.samples();
    read_database(&path, run).map_err(|Reason(reason)| Error::Format {
        path: path.clone(),
        format: "SQLite",
        reason,
    })
}

fn read_database(path: &Path, run: &mut Assembler) -> Result<(), Reason> {
    // Reading a log needs its index file, which SQLite may have to create; in a read-only folder the rows of
    // the main file are still readable.
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let json: String = database.query_row(
        "SELECT value FROM manifest WHERE key = ?",
        params![MANIFEST_KEY],
        |row| row.get(0),
    )?;
    run.manifest =
        Some(manifest::from_json(&json).map_err(|error| format!("its manifest is damaged: {error}"))?);
    read_samples(&database, run)?;
    run.requests = read_rows::<RequestRow>(&database)?;
    run.batches = read_rows::<BatchRow>(&database)?;
    run.steps = read_rows::<StepRow>(&database)?;
    run.engine_requests = read_rows::<EngineRequestRow>(&database)?;
    run.events = read_rows::<EventRow>(&database)?;
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

#[cfg(test)]
mod tests;
