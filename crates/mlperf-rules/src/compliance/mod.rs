//! Compliance runs: the audit file that LoadGen is given, and the check of what it then logged.

mod audit;
mod test06;
mod whole_set;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use test06::{Test06, verify};
pub use whole_set::{answers_are_long_enough, answers_are_right};

/// Name of the audit file, in the folder of LoadGen's logs.
pub const AUDIT_CONFIG: &str = "audit.config";

/// How the first line of an audit file of ours begins.
const HEADING: &str = "# Compliance test ";

/// A compliance test that this program can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum ComplianceTest {
    /// Token ids of a timed run: first tokens, ends and lengths are consistent.
    #[serde(rename = "TEST06")]
    Test06,
    /// Answers of a timed run over a set of its own are right.
    #[serde(rename = "TEST07")]
    Test07,
    /// Answers of a timed run are as long as the reference's.
    #[serde(rename = "TEST09")]
    Test09,
}

impl ComplianceTest {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Test06, Self::Test07, Self::Test09];

    /// Its name in the rules, and of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Test06 => "TEST06",
            Self::Test07 => "TEST07",
            Self::Test09 => "TEST09",
        }
    }

    /// The file with the outcome, in a run's folder and in a submission.
    pub fn outcome_file(self) -> &'static str {
        match self {
            Self::Test06 | Self::Test07 => "verify_accuracy.txt",
            Self::Test09 => "verify_output_len.txt",
        }
    }

    /// Whether it is over all samples of its set, once each.
    pub fn is_whole_set(self) -> bool {
        self != Self::Test06
    }

    /// What it asks of LoadGen, as the round has it: a timed run of a given number of queries without the whole
    /// dataset's equal turns, in which LoadGen logs answers. The seed chooses which, where it is not all of them.
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

    /// The test that an audit file of a person's is of, if it has that test's settings and no other. MLCommons' own
    /// file of TEST06 has what [`Self::write_audit`] writes; the tests over whole sets are only run by their name,
    /// since their answers' texts have to be kept.
    pub fn of_audit(text: &str) -> Option<Self> {
        let test = Self::Test06;
        let asked = audit::settings(text)?;
        // The number of samples matters to the others only.
        (Some(asked) == audit::settings(&test.audit(0))).then_some(test)
    }

    /// Whether an audit file was written by this program.
    pub fn wrote(text: &str) -> bool {
        Self::ALL
            .iter()
            .any(|test| text.starts_with(&format!("{HEADING}{test}: ")))
    }

    /// Writes its audit file into a folder, which is made when it is missing. `samples` is the size of its set.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_audit(self, folder: &Path, samples: u64) -> io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(AUDIT_CONFIG);
        std::fs::write(&path, self.audit(samples))?;
        Ok(path)
    }
}

impl fmt::Display for ComplianceTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a test came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whether it passed.
    pub passed: bool,
    /// In a sentence.
    pub sentence: String,
    /// The outcome's file, in the words that the submission checker looks for.
    pub text: String,
}

/// Why a log cannot be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// LoadGen's accuracy log cannot be read.
    #[error(transparent)]
    Log(#[from] mlperf_loadgen::Error),
    /// It holds no answers.
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
