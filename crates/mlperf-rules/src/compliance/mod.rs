//! Compliance runs: the audit file for LoadGen, and the verification of what LoadGen logged.

mod audit;
mod test06;
mod whole_set;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use test06::{Test06, verify};
pub use whole_set::{answers_are_long_enough, answers_are_right};

/// Name of the audit file in LoadGen's log folder.
pub const AUDIT_CONFIG: &str = "audit.config";

/// The beginning of the first line of an audit file written by this program.
const HEADING: &str = "# Compliance test ";

/// A compliance test that this program can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum ComplianceTest {
    /// Checks the token ids of a timed run: first tokens, ends and lengths are consistent.
    #[serde(rename = "TEST06")]
    Test06,
    /// Checks that the answers of a timed run over a separate sample set are right.
    #[serde(rename = "TEST07")]
    Test07,
    /// Checks that the answers of a timed run are as long as the reference's.
    #[serde(rename = "TEST09")]
    Test09,
}

impl ComplianceTest {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Test06, Self::Test07, Self::Test09];

    /// The test's name in the rules, which is also its folder name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Test06 => "TEST06",
            Self::Test07 => "TEST07",
            Self::Test09 => "TEST09",
        }
    }

    /// Name of the text file with the outcome, as MLCommons' scripts call it. It is in the run's log folder and in the
    /// test's folder of a submission.
    pub fn outcome_file(self) -> &'static str {
        match self {
            Self::Test06 | Self::Test07 => "verify_accuracy.txt",
            Self::Test09 => "verify_output_len.txt",
        }
    }

    /// Whether the test uses every sample of its set exactly once.
    pub fn is_whole_set(self) -> bool {
        self != Self::Test06
    }

    /// The audit settings of the round: a timed run of a given number of queries, without issuing every
    /// sample equally often, in which LoadGen logs answers. If not all answers are logged, the seed selects
    /// which.
    fn audit(self, samples: u64) -> String {
        let (logged, queries) = match self {
            Self::Test06 => (100, 100),
            Self::Test07 | Self::Test09 => (samples, samples),
        };
        let mut text = format!(
            "{HEADING}{self}: a timed run whose answers are logged.\n\
             *.*.mode = 2\n\
             *.*.accuracy_log_rng_seed = 720381539243781796\n\
             *.*.accuracy_log_sampling_target = {logged}\n\
             *.*.min_query_count = {queries}\n\
             *.*.min_duration = 0\n\
             *.*.sample_concatenate_permutation = 0\n"
        );
        if self.is_whole_set() {
            text.push_str("*.*.performance_issue_unique = 1\n");
        }
        text
    }

    /// The test whose settings, and no others, a user's audit file has. MLCommons' own file of TEST06 has the
    /// settings that [`Self::write_audit`] writes. The tests over whole sets can only be run by their name,
    /// since they need the texts of the answers.
    pub fn of_audit(text: &str) -> Option<Self> {
        let test = Self::Test06;
        let asked = audit::settings(text)?;
        // The number of samples matters only to the other tests.
        (Some(asked) == audit::settings(&test.audit(0))).then_some(test)
    }

    /// Whether an audit file was written by this program.
    pub fn wrote(text: &str) -> bool {
        Self::ALL
            .iter()
            .any(|test| text.starts_with(&format!("{HEADING}{test}: ")))
    }

    /// Writes the audit file into a folder, which is created if missing. `samples` is the size of the test's
    /// set.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_audit(self, folder: &Path, samples: u64) -> io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(AUDIT_CONFIG);
        crate::files::write(&path, &self.audit(samples))?;
        Ok(path)
    }
}

impl fmt::Display for ComplianceTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The outcome of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whether it passed.
    pub passed: bool,
    /// The outcome in one sentence.
    pub sentence: String,
    /// The content of the outcome file, with the words that the submission checker looks for.
    pub text: String,
}

/// Why a log cannot be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// LoadGen's accuracy log cannot be read.
    #[error(transparent)]
    Log(#[from] mlperf_loadgen::Error),
    /// The log contains no answers.
    #[error("{path} holds no answers: a compliance test needs a run under its audit file (--compliance)")]
    NoAnswers {
        /// The log.
        path: PathBuf,
    },
}

/// Reads the answers that LoadGen logged under an audit file.
fn logged(log: &Path) -> Result<Vec<mlperf_loadgen::LoggedAnswer>, VerifyError> {
    let answers = mlperf_loadgen::read_accuracy_log(log)?;
    if answers.is_empty() {
        return Err(VerifyError::NoAnswers { path: log.to_owned() });
    }
    Ok(answers)
}
