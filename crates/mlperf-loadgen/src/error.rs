//! The crate's error.

use std::path::PathBuf;

use crate::scenario::{Mode, Scenario};

/// What is refused before a test starts, or fails with its files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The benchmark's name is not in LoadGen's configuration, which LoadGen itself would accept silently.
    #[error("LoadGen knows no benchmark {name:?}; did you mean {near}? (it knows {known})")]
    UnknownBenchmark {
        /// The name as given.
        name: String,
        /// The most similar known name.
        near: String,
        /// All known names.
        known: String,
    },
    /// A line of a configuration file that LoadGen would ignore, or refuse without a reason.
    #[error("{}, line {line}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: usize,
        /// What is wrong, naming the key.
        problem: String,
    },
    /// LoadGen refused a configuration file that passed this crate's checks.
    #[error("LoadGen refused {} with code {code}; check that its lines have the form model.scenario.key = value, as in mlperf.conf", path.display())]
    FromConfig {
        /// The file.
        path: PathBuf,
        /// A negated errno value.
        code: i32,
    },
    /// LoadGen applies its own defaults only for the first configuration file of a process.
    #[error(
        "this process has read a user.conf already, and LoadGen takes one per process; start another one"
    )]
    ConfigReadTwice,
    /// A setting that LoadGen would divide by, overflow with, or hang on.
    #[error("setting {name}: {problem}")]
    Setting {
        /// The field of [`TestSettings`](crate::TestSettings).
        name: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A mode that LoadGen supports only in another scenario.
    #[error("LoadGen has no {mode} mode in the {scenario} scenario")]
    Mode {
        /// The requested mode.
        mode: Mode,
        /// The requested scenario.
        scenario: Scenario,
    },
    /// The sample library's counts or names cannot be used.
    #[error("sample library: {0}")]
    Library(String),
    /// The log folder cannot be used. LoadGen itself would print a line and return as if the test had run.
    #[error("log folder {}: {problem}", path.display())]
    LogFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The audit configuration does not exist, or LoadGen could not use it.
    #[error("audit configuration {}: {problem}", path.display())]
    AuditConfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A test is already running; LoadGen keeps its state in globals.
    #[error("another LoadGen test is running in this process")]
    AlreadyRunning,
    /// An earlier test of this process left LoadGen's globals unusable.
    #[error("LoadGen cannot run again in this process: {0}; start another one")]
    ProcessUsedUp(&'static str),
    /// A thread for LoadGen's issue queries could not be started.
    #[error("cannot start an issue thread: {0}")]
    Thread(#[source] std::io::Error),
    /// LoadGen threw a C++ exception. End the process: LoadGen's log thread may still use freed objects.
    #[error("LoadGen failed: {0}")]
    LoadGen(String),
    /// A log file could not be read.
    #[error("cannot read {}", path.display())]
    ReadLog {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
    /// A log file contains no LoadGen line.
    #[error("{} holds no LoadGen log line", path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
    },
}

/// `Result` with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
