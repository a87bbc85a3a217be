//! The request for a submission.

use std::path::PathBuf;

/// Division of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// The benchmark without changes.
    Closed,
    /// Any changes, with the same measurements.
    Open,
}

impl Division {
    /// The name of its folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

/// What to lay out, and where to.
#[derive(Debug, Clone)]
pub struct Request {
    /// Folders of runs, or parent folders of several. All runs must be of one benchmark on one system.
    pub runs: Vec<PathBuf>,
    /// Folder for the submission. An existing submission is extended.
    pub out: PathBuf,
    /// Division.
    pub division: Division,
    /// The submitting organisation: the name of its folder.
    pub submitter: String,
    /// The system: the name of its folder and file.
    pub system: String,
    /// Files with facts that are not in the records: TOML with `[system]` and `[measurements]`, or a flat
    /// JSON system description. Later files win.
    pub facts: Vec<PathBuf>,
    /// A Markdown file that describes how weights were quantised and calibrated.
    pub calibration: Option<PathBuf>,
    /// The location of the submission's code.
    pub source: Option<String>,
    /// Also lay out runs that are not fit for a submission, and mark them as such.
    pub allow_unfit: bool,
}
