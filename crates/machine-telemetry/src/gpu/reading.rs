//! How one reading of a GPU stands: good, unsupported, or failing for now.

use nvml_wrapper::error::NvmlError;

/// How one reading stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Good,
    Unsupported,
    Failing { since_ns: i64, missed: u64 },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) state: State,
    pub(crate) streaks: u32,
}

/// After so many streaks of failures, one reading's further streaks are counted and no longer told one by one.
pub(crate) const TOLD_STREAKS: u32 = 10;

/// Asking again would give the same answer for as long as this driver runs.
pub(crate) fn is_for_good(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::NoPermission
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
    )
}

/// A field id that this driver does not know, or a value type that the binding does not know (NVML's signed 32-bit
/// integers, which the temperature limits use).
pub(crate) fn is_unknown_field(error: &NvmlError) -> bool {
    matches!(error, NvmlError::InvalidArg | NvmlError::UnexpectedVariant(_))
}

/// Counts one failed reading; true if it is the first of a streak.
pub(crate) fn fail(reading: &mut Reading, at_ns: i64) -> bool {
    if let State::Failing { missed, .. } = &mut reading.state {
        *missed += 1;
        return false;
    }
    reading.state = State::Failing {
        since_ns: at_ns,
        missed: 1,
    };
    reading.streaks += 1;
    true
}
