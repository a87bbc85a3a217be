//! What a submission is made of.

use std::path::PathBuf;

/// Division of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// The benchmark as it is.
    Closed,
    /// Anything, with the same measurements.
    Open,
}

impl Division {
    /// Name of its folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

/// What to lay out, and where.
#[derive(Debug, Clone)]
pub struct Request {
    /// Folders of runs, or folders above several. All runs of one benchmark on one system.
    pub runs: Vec<PathBuf>,
    /// Folder to lay the submission out in. One that has a submission already is added to.
    pub out: PathBuf,
    /// Division.
    pub division: Division,
    /// The submitting organisation: the name of its folder.
    pub submitter: String,
    /// The system: the name of its folder and file.
    pub system: String,
    /// Files of facts that no record holds: TOML with `[system]` and `[measurements]`, or a flat JSON system
    /// description. The later one wins.
    pub facts: Vec<PathBuf>,
    /// A Markdown file on how weights were quantised and calibrated.
    pub calibration: Option<PathBuf>,
    /// Where the code of this submission is.
    pub source: Option<String>,
    /// Lay out runs that are not fit for a submission, too, and mark them as such.
    pub allow_unfit: bool,
}
