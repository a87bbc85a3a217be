//! Flags of `sut submission`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Division of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

/// Flags of `sut submission`.
#[derive(Debug, Clone, Args)]
pub struct SubmissionArgs {
    /// Folder of a run, or one above several (as --test-mode both leaves it); repeat for more. All runs of one
    /// benchmark on one system.
    #[arg(long = "run", value_name = "DIR", required = true)]
    pub runs: Vec<PathBuf>,
    /// Folder to lay the submission out in. One that has a submission already is added to.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Division.
    #[arg(long)]
    pub division: Division,
    /// The submitting organisation: the name of its folder.
    #[arg(long, value_name = "NAME")]
    pub submitter: String,
    /// The system: the name of its folder and file.
    #[arg(long, value_name = "NAME")]
    pub system: String,
    /// What only a person knows: TOML with `[system]` and `[measurements]`, or a flat JSON system description. Repeat for
    /// several; the later one wins.
    #[arg(long = "facts", value_name = "FILE")]
    pub facts: Vec<PathBuf>,
    /// How weights were quantised and calibrated: a Markdown file, carried as documentation/calibration.md.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Where the code of this submission is: a link or a sentence, carried in `src/<benchmark>/README.md`.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// Lay out runs, too, that are not fit for a submission, and mark them as such.
    #[arg(long)]
    pub allow_unfit: bool,
}
