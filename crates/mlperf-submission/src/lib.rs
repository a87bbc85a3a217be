//! Lays out stored runs as the tree that MLCommons' submission checker expects (round v6.1).
//!
//! Facts come from the runs' records and from the user's files; a fact that is in neither is an error that
//! names it. Unfit runs are refused by default. A submission made from simulated or unfit runs states that in
//! every file that can hold a note.
//!
//! # Examples
//! ```no_run
//! use mlperf_submission::{Division, Request, lay_out};
//!
//! let laid_out = lay_out(&Request {
//!     runs: vec!["mlperf_logs".into()],
//!     out: "submission".into(),
//!     division: Division::Closed,
//!     submitter: "Example".into(),
//!     system: "one-h100".into(),
//!     facts: vec!["facts.toml".into()],
//!     calibration: Some("calibration.md".into()),
//!     source: Some("https://example.org/code".into()),
//!     allow_unfit: false,
//! })?;
//! println!("{} files in {}", laid_out.files, laid_out.folder.display());
//! # Ok::<(), mlperf_submission::SubmissionError>(())
//! ```

mod error;
mod facts;
mod files;
mod fitness;
mod logs;
mod marks;
mod outcomes;
mod readme;
mod request;
mod runs;
mod tree;

use std::path::PathBuf;

use mlperf_rules::BenchmarkSpec;

pub use error::SubmissionError;
use marks::Mark;
pub use request::{Division, Request};

/// A completed submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedSubmission {
    /// The benchmark's folder.
    pub folder: PathBuf,
    /// Number of files written.
    pub files: usize,
    /// Notes on simulated or unfit runs, one line each, as written to every file.
    pub marks: Vec<String>,
}

/// Lays out a submission.
///
/// # Errors
/// [`SubmissionError`] reports everything that is missing or unfit at once.
pub fn lay_out(request: &Request) -> Result<CompletedSubmission, SubmissionError> {
    for (flag, name) in [("--submitter", &request.submitter), ("--system", &request.system)] {
        check_name(flag, name)?;
    }
    let (found, runs) = runs::find(&request.runs)?;
    let spec = BenchmarkSpec::named(&runs.benchmark)?;
    let reasons = fitness::reasons(&runs, &spec, request.division);
    if !reasons.is_empty() && !request.allow_unfit {
        return Err(SubmissionError::Unfit {
            division: request.division.as_str(),
            reasons,
        });
    }
    let marks: Vec<Mark> = [marks::simulated(&found), marks::unfit(&reasons)]
        .into_iter()
        .flatten()
        .collect();
    let facts = facts::gather(request, &found, &marks)?;
    let tree = tree::Tree::new(request, &spec, &runs, &facts, &marks)?;
    let files = tree.files();
    files.check()?;
    Ok(CompletedSubmission {
        files: files.write()?,
        folder: tree.benchmark_folder(),
        marks: marks.iter().map(Mark::line).collect(),
    })
}

fn check_name(flag: &'static str, name: &str) -> Result<(), SubmissionError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._+- ".contains(c);
    if name.is_empty() || name.starts_with('.') || name.trim() != name || !name.chars().all(good) {
        return Err(SubmissionError::Name {
            flag,
            name: name.to_owned(),
        });
    }
    Ok(())
}
