//! The outcome of a run, which determines both the closing table's result and the exit status.

use std::fmt;

use mlperf_rules::compliance::ComplianceTest;

use crate::exit::Exit;

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunOutcome {
    /// LoadGen reports VALID, and every query was answered.
    Valid,
    /// LoadGen reports INVALID.
    Invalid,
    /// LoadGen reports VALID, but something else makes the result worthless.
    NotCounted,
    /// LoadGen's log has no verdict.
    NoVerdict,
    /// The run was ended early.
    Aborted {
        /// LoadGen ended and wrote a summary.
        summary: bool,
    },
    /// LoadGen refused the settings, or failed.
    NotRun {
        /// LoadGen refused the settings.
        refused: bool,
    },
    /// LoadGen's logs cannot be read.
    NoLogs,
    /// An accuracy run whose answers were not scored.
    NotScored,
    /// An accuracy run.
    Scored {
        /// The outcome in one word.
        word: &'static str,
        /// Every limit holds and the figures are written.
        counts: bool,
    },
    /// A run under an audit file that was not verified.
    NotVerified(Option<ComplianceTest>),
    /// A compliance run.
    Verified {
        /// The test.
        test: ComplianceTest,
        /// Whether it passed.
        passed: bool,
        /// Whether the file that a submission needs was written.
        written: bool,
    },
}

impl RunOutcome {
    /// The exit status.
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
            // Most likely a full disk or a removed folder. What was recorded is kept.
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
            Self::NotCounted => "INVALID, although LoadGen says VALID",
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
