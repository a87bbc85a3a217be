//! Why a submission was not laid out.

use std::path::PathBuf;

use mlperf_rules::{BenchmarkError, RecordError};

/// Why a submission was not laid out. Only [`SubmissionError::Write`] leaves files behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionError {
    /// A submitter or system name that is not a valid folder name.
    #[error("{flag} {name:?}: it becomes the name of a folder, so letters, digits and . _ + - only")]
    Name {
        /// `--submitter` or `--system`.
        flag: &'static str,
        /// The name as given.
        name: String,
    },
    /// A folder contains no run, or cannot be read.
    #[error("--run {}: {what}", folder.display())]
    Folder {
        /// The folder as given.
        folder: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A run's record cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The benchmark of the runs is unknown.
    #[error(transparent)]
    Benchmark(#[from] BenchmarkError),
    /// The runs do not belong together, or some are missing.
    #[error("the runs do not make a submission:\n  - {}", problems.join("\n  - "))]
    Runs {
        /// The problems, one clause each.
        problems: Vec<String>,
    },
    /// The runs are not fit, and [`crate::Request::allow_unfit`] was not set.
    #[error(
        "these runs are not fit for a {division} submission (--allow-unfit lays them out all the same, and marks \
         them):\n  - {}",
        reasons.join("\n  - ")
    )]
    Unfit {
        /// The division.
        division: &'static str,
        /// The reasons, one clause each.
        reasons: Vec<String>,
    },
    /// Facts that are missing from every record, or wrong.
    #[error(
        "the records do not hold these facts, so write them into a file and give it with --facts:\n  - {}",
        missing.join("\n  - ")
    )]
    Facts {
        /// Table and key of each.
        missing: Vec<String>,
    },
    /// Required flags are missing.
    #[error("a submission needs what no record holds:\n  - {}", missing.join("\n  - "))]
    Flags {
        /// Flag and description of each.
        missing: Vec<&'static str>,
    },
    /// An input file cannot be used.
    #[error("{what}: {problem}")]
    Input {
        /// The flag and the file, or only the file.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// The benchmark's folder already exists.
    #[error("{} exists already: remove it, or lay out somewhere else", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// Files are missing or contradict existing ones.
    #[error("nothing was laid out, because:\n  - {}", problems.join("\n  - "))]
    Files {
        /// The problems, one clause each.
        problems: Vec<String>,
    },
    /// A file could not be written; the tree is incomplete.
    #[error("the submission is not complete: {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The underlying I/O error.
        source: std::io::Error,
    },
}
