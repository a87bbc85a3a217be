//! How a run came out: the closing table's word and the exit status, from one value.

use std::fmt;

use mlperf_rules::compliance::ComplianceTest;

use crate::exit::Exit;

/// How a run came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunOutcome {
    /// LoadGen's VALID, and every query answered.
    Valid,
    /// LoadGen's INVALID.
    Invalid,
    /// LoadGen says VALID, and something makes the result worthless all the same.
    NotCounted,
    /// LoadGen's log has no verdict.
    NoVerdict,
    /// The run was ended early.
    Aborted {
        /// LoadGen came to its end and wrote a summary.
        summary: bool,
    },
    /// LoadGen refused the settings, or failed.
    NotRun {
        /// It refused them.
        refused: bool,
    },
    /// LoadGen's logs cannot be read.
    NoLogs,
    /// An accuracy run whose answers are not scored.
    NotScored,
    /// An accuracy run.
    Scored {
        /// In a word.
        word: &'static str,
        /// Every limit holds and the figures are written.
        counts: bool,
    },
    /// A run under an audit file that is not verified.
    NotVerified(Option<ComplianceTest>),
    /// A compliance run.
    Verified {
        /// The test.
        test: ComplianceTest,
        /// It passed.
        passed: bool,
        /// The file that a submission needs is written.
        written: bool,
    },
}

impl RunOutcome {
    /// The program's status.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Valid
            | Self::Scored { counts: true, .. }
            | Self::Verified {
                passed: true,
                written: true,
                ..
            } => Exit::Valid,
            Self::Invalid
            | Self::NotCounted
            | Self::NoVerdict
            | Self::NotScored
            | Self::Scored { counts: false, .. }
            | Self::NotVerified(_)
            | Self::Verified { .. } => Exit::NotValid,
            // A full disk or a folder that is gone, most likely: what there is was kept.
            Self::Aborted { .. } | Self::NoLogs => Exit::Partial,
            Self::NotRun { refused: true } => Exit::Usage,
            Self::NotRun { refused: false } => Exit::Bug,
        }
    }

    /// Whether the result counts.
    pub(crate) fn counts(&self) -> bool {
        self.exit() == Exit::Valid
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "VALID",
            Self::Invalid => "INVALID",
            Self::NotCounted => "NOT VALID, although LoadGen says VALID",
            Self::NoVerdict => "NO RESULT: LoadGen's log has no verdict",
            Self::Aborted { summary: true } => "ABORTED: the run was ended early",
            Self::Aborted { summary: false } => "ABORTED: there is no result",
            Self::NotRun { .. } => "NO RESULT: LoadGen did not run the test",
            Self::NoLogs => "NO RESULT: LoadGen's logs cannot be read",
            Self::NotScored => "ENDED, NOT SCORED: the answers are in LoadGen's accuracy log",
            Self::Scored { word, .. } => word,
            Self::NotVerified(None) => {
                "ENDED, NOT VERIFIED: verify the logs with the verification script of the compliance test"
            }
            Self::NotVerified(Some(test)) => return write!(f, "{test} ENDED, NOT VERIFIED"),
            Self::Verified { test, passed, .. } => {
                return write!(f, "{test} {}", if *passed { "PASSED" } else { "FAILED" });
            }
        })
    }
}
