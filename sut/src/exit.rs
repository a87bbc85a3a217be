//! The program's exit statuses. The only place where a status is defined.

use std::process::ExitCode;

/// Exit status of `sut`, in order of severity within its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The run is VALID and every query was answered, or the subcommand succeeded.
    Valid = 0,
    /// The run ended, but its result does not count: INVALID by LoadGen, errors logged, queries failed,
    /// answers below their limits, or answers that could not be judged.
    NotValid = 1,
    /// A flag, file, key or dataset is wrong. No load was sent.
    Usage = 2,
    /// The server could not be reached or never became ready. No load was sent.
    Unreachable = 3,
    /// The run was interrupted: the server died, a deadline passed or a signal arrived. What was recorded is
    /// readable.
    Partial = 4,
    /// `sut compare`, or a run with `--baseline`: a decisive figure got worse.
    Regression = 5,
    /// `sut compare`, or a run with `--baseline`: the runs did different work.
    NotComparable = 6,
    /// `sut compare --strict`: a decisive figure is inconclusive.
    Inconclusive = 7,
    /// A bug in this program.
    Bug = 70,
}

impl Exit {
    /// The status in one word, for summaries of several runs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::NotValid => "INVALID",
            Self::Usage => "NOT STARTED",
            Self::Unreachable => "NO SERVER",
            Self::Partial => "ABORTED",
            Self::Regression => "REGRESSED",
            Self::NotComparable => "NOT COMPARABLE",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Bug => "FAILED",
        }
    }

    /// The status of a run that ended.
    pub fn counting(counts: bool) -> Self {
        if counts { Self::Valid } else { Self::NotValid }
    }

    /// The meaning of the exit status of another process of this program; an unknown status is a bug.
    pub fn from_code(code: i32) -> Self {
        [
            Self::Valid,
            Self::NotValid,
            Self::Usage,
            Self::Unreachable,
            Self::Partial,
            Self::Regression,
            Self::NotComparable,
            Self::Inconclusive,
        ]
        .into_iter()
        .find(|exit| i32::from(*exit as u8) == code)
        .unwrap_or(Self::Bug)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit status of the program. Create it with [`Fail::usage`] and similar functions; any
/// other error is a [`Exit::Bug`].
#[derive(Debug)]
pub struct Fail {
    /// The exit status.
    pub exit: Exit,
    /// The message for the user.
    pub error: anyhow::Error,
}

impl Fail {
    /// The error with its causes; a cause that is already contained in an earlier text is left out.
    pub fn message(&self) -> String {
        let mut text = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        text
    }

    /// The user's input is wrong.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
        }
    }

    /// The server cannot be reached.
    pub fn unreachable(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Unreachable,
            error: error.into(),
        }
    }

    /// The run was interrupted.
    pub fn partial(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Partial,
            error: error.into(),
        }
    }
}

impl From<anyhow::Error> for Fail {
    fn from(error: anyhow::Error) -> Self {
        Self {
            exit: Exit::Bug,
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let fail = Fail::usage(
            anyhow!("disk full")
                .context("cannot write: disk full")
                .context("no record"),
        );
        assert_eq!(fail.message(), "no record: cannot write: disk full");
    }
}
