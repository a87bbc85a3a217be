//! The crate's error.

use std::path::PathBuf;

use crate::scenario::{Mode, Scenario};

/// What can be refused before a test starts, or go wrong with its files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The benchmark's name is not in LoadGen's configuration, which LoadGen itself would accept silently.
    #[error("LoadGen knows no benchmark {name:?}; did you mean {near}? (it knows {known})")]
    UnknownBenchmark {
        /// The name as given.
        name: String,
        /// The known name that is most like it.
        near: String,
        /// All known names.
        known: String,
    },
    /// A line of a configuration file that LoadGen would refuse without saying why, or ignore.
    #[error("{}, line {line}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, naming the key.
        problem: String,
    },
    /// LoadGen refused a configuration file that passed our own checks.
    #[error("LoadGen refused {} with code {code}", path.display())]
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
    /// A setting that LoadGen would divide by, overflow with or hang on.
    #[error("setting {name}: {problem}")]
    Setting {
        /// The field of [`TestSettings`](crate::TestSettings).
        name: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A mode that LoadGen has for another scenario only.
    #[error("LoadGen has no {mode} mode in the {scenario} scenario")]
    Mode {
        /// The mode asked for.
        mode: Mode,
        /// The scenario asked for.
        scenario: Scenario,
    },
    /// The sample library's counts or names cannot be used.
    #[error("sample library: {0}")]
    Library(String),
    /// The log folder cannot be used; LoadGen would print a line and return as if the test had run.
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
    /// LoadGen keeps its state in globals: one test at a time.
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
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A log file has no line of LoadGen's.
    #[error("{} holds no LoadGen log line", path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
    },
}

/// Shorthand with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
