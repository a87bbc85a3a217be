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
use rusqlite::{Connection, ErrorCode, ToSql, params, params_from_iter};

use super::atomic::temporary_name;
use super::files::RunFiles;
use super::manifest::{self, MANIFEST_KEY};
use super::table::{Cell, Column, Kind, Row};
use super::{Store, StoreFiles, total_bytes};
use run_model::{BatchRow, EngineRequestRow, EventRow, Manifest, Record, RequestRow, StepRow};
use run_model::{Error, Result};

mod read;

pub(crate) use read::{read, read_foreign};

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
    strftime('%Y-%m-%dT%H:%M:%S', (timestamp_ns - fraction_ns) / 1000000000, 'unixepoch')
        || printf('.%09dZ', fraction_ns) AS timestamp,
    metric_name, value, labels, metric_type, unit, source, endpoint_url, phase, value_text, timestamp_ns
FROM (SELECT *, (timestamp_ns % 1000000000 + 1000000000) % 1000000000 AS fraction_ns FROM samples)
    JOIN series USING (series_id) JOIN phases USING (phase_id);
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
            // In the manifest.
            Record::Help(..) => {}
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
        // The journal of that change is kept in memory: one on disk, left by a kill, would have to be rolled back before
        // the file could be read. The change is one write to the first page.
        if let Err(error) = self.database.pragma_update(None, "journal_mode", "MEMORY") {
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

#[cfg(test)]
mod tests;
