//! Requests, batches, steps and events as rows of cells, which all formats write and read.

use std::borrow::Cow;
use std::sync::Arc;

use run_model::{BatchRow, EngineRequestRow, EventRow, Outcome, RequestRow, Severity, StepRow, TimeSource};

/// Content of a column, independent of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nanoseconds since the epoch; a timestamp in formats that have the type.
    Time,
    /// A duration in nanoseconds.
    Nanos,
    /// An id, index or count.
    Count,
    /// A finite number.
    Real,
    /// Text.
    Text,
}

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// False if the cell may be absent.
    #[cfg_attr(
        not(any(feature = "parquet", feature = "sqlite")),
        allow(dead_code, reason = "text formats have no such declaration")
    )]
    pub(crate) required: bool,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Absent,
    Time(i64),
    Nanos(i64),
    Count(u64),
    Real(f64),
    Text(Cow<'a, str>),
}

/// A row of one of the tables.
pub(crate) trait Row: Sized + Send + Clone {
    /// Table name: the first part of its file name, and its name in SQLite.
    const TABLE: &'static str;
    /// Columns in file order.
    const COLUMNS: &'static [Column];

    /// The cell of one column, counted from 0 in the order of [`Row::COLUMNS`].
    fn cell(&self, column: usize) -> Cell<'_>;

    /// The inverse: consumes the cells of one row in column order. The error names the invalid cell.
    fn from_cells(cells: &mut Cells<'_>) -> Result<Self, String>;
}

const fn column(name: &'static str, kind: Kind, required: bool) -> Column {
    Column { name, kind, required }
}

/// Cells of one row being read, from left to right.
pub(crate) struct Cells<'a> {
    cells: Vec<Cell<'a>>,
    columns: &'static [Column],
    next: usize,
}

impl<'a> Cells<'a> {
    /// `cells` must be as long as `columns`.
    pub(crate) fn new(cells: Vec<Cell<'a>>, columns: &'static [Column]) -> Self {
        debug_assert_eq!(cells.len(), columns.len());
        Self {
            cells,
            columns,
            next: 0,
        }
    }

    fn take(&mut self) -> (Cell<'a>, &'static str) {
        let at = self.next;
        self.next += 1;
        (
            std::mem::replace(&mut self.cells[at], Cell::Absent),
            self.columns[at].name,
        )
    }

    fn opt_signed(&mut self) -> Result<Option<i64>, String> {
        match self.take() {
            (Cell::Time(ns) | Cell::Nanos(ns), _) => Ok(Some(ns)),
            (Cell::Absent, _) => Ok(None),
            (other, name) => Err(format!("column {name} holds {other:?} where a time is expected")),
        }
    }

    fn signed(&mut self) -> Result<i64, String> {
        let name = self.columns[self.next].name;
        self.opt_signed()?
            .ok_or_else(|| format!("column {name} is empty"))
    }

    fn opt_count(&mut self) -> Result<Option<u64>, String> {
        match self.take() {
            (Cell::Count(n), _) => Ok(Some(n)),
            (Cell::Absent, _) => Ok(None),
            (other, name) => Err(format!("column {name} holds {other:?} where a count is expected")),
        }
    }

    fn count(&mut self) -> Result<u64, String> {
        let name = self.columns[self.next].name;
        self.opt_count()?.ok_or_else(|| format!("column {name} is empty"))
    }

    fn opt_small(&mut self) -> Result<Option<u32>, String> {
        let name = self.columns[self.next].name;
        self.opt_count()?
            .map(|n| {
                u32::try_from(n).map_err(|_| format!("column {name} holds {n}, which is beyond 32 bits"))
            })
            .transpose()
    }

    fn small(&mut self) -> Result<u32, String> {
        let name = self.columns[self.next].name;
        self.opt_small()?.ok_or_else(|| format!("column {name} is empty"))
    }

    fn opt_real(&mut self) -> Result<Option<f64>, String> {
        match self.take() {
            (Cell::Real(value), _) => Ok(Some(value)),
            // JSON and SQLite write whole numbers without a decimal point.
            (Cell::Count(n), _) => Ok(Some(n as f64)),
            (Cell::Absent, _) => Ok(None),
            (other, name) => Err(format!(
                "column {name} holds {other:?} where a number is expected"
            )),
        }
    }

    fn opt_text(&mut self) -> Result<Option<Arc<str>>, String> {
        match self.take() {
            (Cell::Text(text), _) => Ok(Some(Arc::from(text.as_ref()))),
            (Cell::Absent, _) => Ok(None),
            (other, name) => Err(format!("column {name} holds {other:?} where text is expected")),
        }
    }

    /// Empty text and an absent cell are equivalent in a required column, since CSV cannot distinguish them.
    fn text(&mut self) -> Result<Arc<str>, String> {
        Ok(self.opt_text()?.unwrap_or_else(|| Arc::from("")))
    }

    fn word<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
        let name = self.columns[self.next].name;
        let text = self.text()?;
        parse(&text).ok_or_else(|| format!("column {name} holds the unknown word `{text}`"))
    }
}

fn opt_time(ns: Option<i64>) -> Cell<'static> {
    ns.map_or(Cell::Absent, Cell::Time)
}

fn opt_nanos(ns: Option<i64>) -> Cell<'static> {
    ns.map_or(Cell::Absent, Cell::Nanos)
}

fn opt_count(n: Option<u64>) -> Cell<'static> {
    n.map_or(Cell::Absent, Cell::Count)
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(text))
}

impl Row for RequestRow {
    const TABLE: &'static str = "requests";
    const COLUMNS: &'static [Column] = &[
        column("request_id", Kind::Count, true),
        column("sample_index", Kind::Count, true),
        column("batch_id", Kind::Count, false),
        column("endpoint", Kind::Count, true),
        column("scheduled", Kind::Time, false),
        column("issued", Kind::Time, true),
        column("sent", Kind::Time, false),
        column("first_token", Kind::Time, false),
        column("done", Kind::Time, false),
        column("prompt_tokens", Kind::Count, false),
        column("output_tokens", Kind::Count, false),
        column("server_queue_ns", Kind::Nanos, false),
        column("server_prefill_ns", Kind::Nanos, false),
        column("server_decode_ns", Kind::Nanos, false),
        column("server_time_source", Kind::Text, false),
        column("outcome", Kind::Text, true),
        column("reason", Kind::Text, false),
    ];

    fn cell(&self, column: usize) -> Cell<'_> {
        match column {
            0 => Cell::Count(self.request_id),
            1 => Cell::Count(self.sample_index),
            2 => opt_count(self.batch_id),
            3 => Cell::Count(self.endpoint.into()),
            4 => opt_time(self.scheduled_ns),
            5 => Cell::Time(self.issued_ns),
            6 => opt_time(self.sent_ns),
            7 => opt_time(self.first_token_ns),
            8 => opt_time(self.done_ns),
            9 => opt_count(self.prompt_tokens.map(u64::from)),
            10 => opt_count(self.output_tokens.map(u64::from)),
            11 => opt_nanos(self.server_queue_ns),
            12 => opt_nanos(self.server_prefill_ns),
            13 => opt_nanos(self.server_decode_ns),
            14 => self
                .server_time_source
                .map_or(Cell::Absent, |source| text(source.as_str())),
            15 => text(self.outcome.as_str()),
            // An empty reason is treated as none, since CSV cannot distinguish them.
            _ => self
                .reason
                .as_deref()
                .filter(|reason| !reason.is_empty())
                .map_or(Cell::Absent, text),
        }
    }

    fn from_cells(cells: &mut Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            request_id: cells.count()?,
            sample_index: cells.count()?,
            batch_id: cells.opt_count()?,
            endpoint: cells.small()?,
            scheduled_ns: cells.opt_signed()?,
            issued_ns: cells.signed()?,
            sent_ns: cells.opt_signed()?,
            first_token_ns: cells.opt_signed()?,
            done_ns: cells.opt_signed()?,
            prompt_tokens: cells.opt_small()?,
            output_tokens: cells.opt_small()?,
            server_queue_ns: cells.opt_signed()?,
            server_prefill_ns: cells.opt_signed()?,
            server_decode_ns: cells.opt_signed()?,
            server_time_source: match cells.opt_text()? {
                None => None,
                Some(word) => {
                    Some(TimeSource::from_text(&word).ok_or_else(|| {
                        format!("column server_time_source holds the unknown word `{word}`")
                    })?)
                }
            },
            outcome: cells.word(Outcome::from_text)?,
            reason: cells.opt_text()?,
        })
    }
}

impl Row for BatchRow {
    const TABLE: &'static str = "batches";
    const COLUMNS: &'static [Column] = &[
        column("batch_id", Kind::Count, true),
        column("issued", Kind::Time, true),
        column("done", Kind::Time, false),
        column("requests", Kind::Count, true),
        column("output_tokens", Kind::Count, false),
        column("failed", Kind::Count, true),
    ];

    fn cell(&self, column: usize) -> Cell<'_> {
        match column {
            0 => Cell::Count(self.batch_id),
            1 => Cell::Time(self.issued_ns),
            2 => opt_time(self.done_ns),
            3 => Cell::Count(self.requests.into()),
            4 => opt_count(self.output_tokens),
            _ => Cell::Count(self.failed.into()),
        }
    }

    fn from_cells(cells: &mut Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            batch_id: cells.count()?,
            issued_ns: cells.signed()?,
            done_ns: cells.opt_signed()?,
            requests: cells.small()?,
            output_tokens: cells.opt_count()?,
            failed: cells.small()?,
        })
    }
}

impl Row for StepRow {
    const TABLE: &'static str = "steps";
    const COLUMNS: &'static [Column] = &[
        column("step", Kind::Count, true),
        column("engine", Kind::Count, true),
        column("timestamp", Kind::Time, true),
        column("duration_ns", Kind::Nanos, false),
        column("elapsed_ns", Kind::Nanos, false),
        column("running", Kind::Count, true),
        column("waiting", Kind::Count, true),
        column("prefill_tokens", Kind::Count, false),
        column("decode_tokens", Kind::Count, false),
        column("prompt_tokens", Kind::Count, true),
        column("generation_tokens", Kind::Count, true),
        column("preemptions", Kind::Count, true),
        column("kv_usage_ratio", Kind::Real, false),
    ];

    fn cell(&self, column: usize) -> Cell<'_> {
        match column {
            0 => Cell::Count(self.step),
            1 => Cell::Count(self.engine.into()),
            2 => Cell::Time(self.timestamp_ns),
            3 => opt_nanos(self.duration_ns),
            4 => opt_nanos(self.elapsed_ns),
            5 => Cell::Count(self.running.into()),
            6 => Cell::Count(self.waiting.into()),
            7 => opt_count(self.prefill_tokens.map(u64::from)),
            8 => opt_count(self.decode_tokens.map(u64::from)),
            9 => Cell::Count(self.prompt_tokens.into()),
            10 => Cell::Count(self.generation_tokens.into()),
            11 => Cell::Count(self.preemptions.into()),
            // JSON has no infinities; a ratio that is not finite is absent.
            _ => self
                .kv_usage_ratio
                .filter(|ratio| ratio.is_finite())
                .map_or(Cell::Absent, Cell::Real),
        }
    }

    fn from_cells(cells: &mut Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            step: cells.count()?,
            engine: cells.small()?,
            timestamp_ns: cells.signed()?,
            duration_ns: cells.opt_signed()?,
            elapsed_ns: cells.opt_signed()?,
            running: cells.small()?,
            waiting: cells.small()?,
            prefill_tokens: cells.opt_small()?,
            decode_tokens: cells.opt_small()?,
            prompt_tokens: cells.small()?,
            generation_tokens: cells.small()?,
            preemptions: cells.small()?,
            kv_usage_ratio: cells.opt_real()?,
        })
    }
}

impl Row for EngineRequestRow {
    const TABLE: &'static str = "engine_requests";
    const COLUMNS: &'static [Column] = &[
        column("server_request_id", Kind::Text, true),
        column("request_id", Kind::Count, false),
        column("engine", Kind::Count, true),
        column("done", Kind::Time, true),
        column("reason", Kind::Text, true),
        column("prompt_tokens", Kind::Count, true),
        column("cached_tokens", Kind::Count, true),
        column("output_tokens", Kind::Count, true),
        column("preemptions", Kind::Count, true),
        column("e2e_ns", Kind::Nanos, true),
        column("queue_ns", Kind::Nanos, true),
        column("prefill_ns", Kind::Nanos, true),
        column("decode_ns", Kind::Nanos, true),
    ];

    fn cell(&self, column: usize) -> Cell<'_> {
        match column {
            0 => text(&self.server_request_id),
            1 => opt_count(self.request_id),
            2 => Cell::Count(self.engine.into()),
            3 => Cell::Time(self.done_ns),
            4 => text(&self.reason),
            5 => Cell::Count(self.prompt_tokens.into()),
            6 => Cell::Count(self.cached_tokens.into()),
            7 => Cell::Count(self.output_tokens.into()),
            8 => Cell::Count(self.preemptions.into()),
            9 => Cell::Nanos(self.e2e_ns),
            10 => Cell::Nanos(self.queue_ns),
            11 => Cell::Nanos(self.prefill_ns),
            _ => Cell::Nanos(self.decode_ns),
        }
    }

    fn from_cells(cells: &mut Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            server_request_id: cells.text()?,
            request_id: cells.opt_count()?,
            engine: cells.small()?,
            done_ns: cells.signed()?,
            reason: cells.text()?,
            prompt_tokens: cells.small()?,
            cached_tokens: cells.small()?,
            output_tokens: cells.small()?,
            preemptions: cells.small()?,
            e2e_ns: cells.signed()?,
            queue_ns: cells.signed()?,
            prefill_ns: cells.signed()?,
            decode_ns: cells.signed()?,
        })
    }
}

impl Row for EventRow {
    const TABLE: &'static str = "events";
    const COLUMNS: &'static [Column] = &[
        column("timestamp", Kind::Time, true),
        column("end", Kind::Time, false),
        column("kind", Kind::Text, true),
        column("severity", Kind::Text, true),
        column("source", Kind::Text, true),
        column("message", Kind::Text, true),
        column("attributes", Kind::Text, true),
    ];

    fn cell(&self, column: usize) -> Cell<'_> {
        match column {
            0 => Cell::Time(self.timestamp_ns),
            1 => opt_time(self.end_ns),
            2 => text(&self.kind),
            3 => text(self.severity.as_str()),
            4 => text(&self.source),
            5 => text(&self.message),
            _ => text(&self.attributes),
        }
    }

    fn from_cells(cells: &mut Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            timestamp_ns: cells.signed()?,
            end_ns: cells.opt_signed()?,
            kind: cells.text()?.into(),
            severity: cells.word(Severity::from_text)?,
            source: cells.text()?,
            message: cells.text()?,
            attributes: cells.text()?,
        })
    }
}
