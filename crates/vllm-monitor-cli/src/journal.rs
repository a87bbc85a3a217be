//! Writes records as JSON lines, from a thread of its own. A disk that is full costs lines, which are counted; the
//! monitor goes on.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use vllm_monitor::log::Meaning;
use vllm_monitor::{AlertChange, Decision, EventKind};

use crate::error::{Error, Result};
use crate::hub::{Hub, Record};

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file, which is made if it is not there.
    File(PathBuf),
}

impl Destination {
    fn open(&self) -> Result<Option<Box<dyn Write + Send>>> {
        Ok(match self {
            Self::Off => None,
            Self::Stdout => Some(Box::new(io::stdout())),
            Self::Stderr => Some(Box::new(io::stderr())),
            Self::File(path) => {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .map_err(|source| Error::File {
                        path: path.clone(),
                        source,
                    })?;
                Some(Box::new(file))
            }
        })
    }
}

/// How much a record matters, as words of `log_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A failure that is present.
    Error,
    /// A failure that is predicted, or a warning of the server.
    Warn,
    /// A change of state.
    Info,
    /// Everything else.
    Debug,
}

impl Level {
    /// The level by its word; `trace` is as `debug`.
    pub fn from_word(word: &str) -> Self {
        match word {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            _ => Self::Debug,
        }
    }

    /// The level of a decision.
    pub fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Alert(alert) => match (alert.change, alert.condition.is_some()) {
                (AlertChange::Raised, true) => Self::Error,
                (AlertChange::Raised, false) => Self::Warn,
                (AlertChange::Cleared, _) => Self::Info,
            },
            Decision::Event(event) => match &event.kind {
                EventKind::Transition(transition) if transition.to.as_str() == "ERROR" => Self::Error,
                EventKind::Transition(_) | EventKind::PhaseEnded { .. } | EventKind::Onset { .. } => {
                    Self::Info
                }
                EventKind::LogMark(mark) if matches!(mark.means, Meaning::Fatal(_)) => Self::Error,
                EventKind::Acting {
                    is_warning: false, ..
                }
                | EventKind::Plugin {
                    is_warning: false, ..
                } => Self::Info,
                EventKind::LogMark(_)
                | EventKind::Acting { .. }
                | EventKind::Plugin { .. }
                | EventKind::ObservationLost
                | EventKind::ClockWentBack { .. }
                | EventKind::SnapshotRefused { .. } => Self::Warn,
                EventKind::ObservationRestored | EventKind::MetricsMissing { .. } => Self::Info,
                _ => Self::Debug,
            },
            _ => Self::Info,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The journal's thread.
#[derive(Debug)]
pub struct Journal {
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Starts writing the hub's records of this level and above.
    ///
    /// # Errors
    /// If the file cannot be opened or no thread can be started.
    pub fn start(destination: &Destination, level: Level, hub: &Arc<Hub>) -> Result<Self> {
        let Some(out) = destination.open()? else {
            return Ok(Self { thread: None });
        };
        let (_, records) = hub.listen(0);
        let hub = Arc::clone(hub);
        let body = move || {
            let count = |lines: u64, lost: u64| {
                hub.totals.journal_lines.fetch_add(lines, Ordering::Relaxed);
                hub.totals.journal_lost.fetch_add(lost, Ordering::Relaxed);
            };
            write_all(out, records, level, count);
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(body)
            .map_err(|source| Error::System {
                what: "no thread for the journal",
                source,
            })?;
        Ok(Self { thread: Some(thread) })
    }

    /// Waits until every record of a hub that was closed is written.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn write_all(
    mut out: impl Write,
    mut records: Receiver<Arc<Record>>,
    level: Level,
    count: impl Fn(u64, u64),
) {
    loop {
        match records.blocking_recv() {
            Ok(record) => {
                let of = Level::of(&record.decision);
                if of > level {
                    continue;
                }
                let line = line(&record, of);
                // One call per line, so that lines of several writers do not mix.
                match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                    Ok(()) => count(1, 0),
                    Err(_) => count(0, 1),
                }
            }
            Err(RecvError::Lagged(lost)) => count(0, lost),
            Err(RecvError::Closed) => return,
        }
    }
}

fn line(record: &Record, level: Level) -> String {
    let json = record.to_json();
    // The level stands first, for those who filter by text.
    format!("{{\"level\":\"{}\",{}\n", level.as_str(), &json[1..])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use vllm_metrics::RunClock;
    use vllm_monitor::config::Settings;
    use vllm_monitor::{Event, Monitor, State};

    use super::*;

    fn hub() -> Arc<Hub> {
        let monitor = Monitor::new(Settings::default());
        Arc::new(Hub::new(monitor, State::default(), RunClock::start()))
    }

    fn publish(hub: &Hub, kind: EventKind) {
        let target: Arc<str> = "t".into();
        let event = Event {
            target: Arc::clone(&target),
            at: hub.now(),
            kind,
        };
        hub.publish(&target, Decision::Event(event));
    }

    #[test]
    fn lines_are_json_and_filtered_by_level() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let hub = hub();
        let destination = Destination::File(path.clone());
        let journal = Journal::start(&destination, Level::Warn, &hub).expect("started");
        publish(&hub, EventKind::ObservationLost);
        publish(&hub, EventKind::ObservationRestored);
        hub.close();
        journal.join();
        let text = fs::read_to_string(&path).expect("written");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("JSON");
        assert_eq!(
            (line["level"].as_str(), line["id"].as_u64()),
            (Some("warn"), Some(1))
        );
        assert_eq!(line["event"]["kind"], "observation_lost");
    }

    #[test]
    fn a_full_disk_costs_lines_and_they_are_counted() {
        let hub = hub();
        // Writing to this device fails as on a full disk.
        let full = Destination::File("/dev/full".into());
        let journal = Journal::start(&full, Level::Debug, &hub).expect("started");
        publish(&hub, EventKind::ObservationLost);
        publish(&hub, EventKind::ObservationLost);
        while hub.totals.journal_lost.load(Ordering::Relaxed) < 2 {
            std::thread::yield_now();
        }
        assert_eq!(hub.totals.journal_lines.load(Ordering::Relaxed), 0);
        hub.close();
        journal.join();
    }

    #[test]
    fn a_file_in_no_folder_is_refused_by_name() {
        let nowhere = Destination::File("/no/such/folder/log".into());
        let error = Journal::start(&nowhere, Level::Info, &hub()).expect_err("refused");
        assert!(error.to_string().contains("/no/such/folder/log"), "{error}");
    }
}
