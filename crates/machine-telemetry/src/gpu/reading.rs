//! Condition of one reading of a GPU: good, unsupported, or currently failing.

use nvml_wrapper::error::NvmlError;

/// Condition of one reading.
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

/// After this many streaks of failures, further streaks of a reading are only counted, not reported.
pub(crate) const REPORTED_STREAKS: u32 = 10;

/// Whether the error is permanent for as long as this driver runs.
pub(crate) fn is_for_good(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::NoPermission
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
    )
}

/// Whether the field id is unknown to this driver, or its value type to the binding (NVML's signed 32-bit
/// integers, which the temperature limits use).
pub(crate) fn is_unknown_field(error: &NvmlError) -> bool {
    matches!(error, NvmlError::InvalidArg | NvmlError::UnexpectedVariant(_))
}

/// Counts one failed reading; returns true if it is the first of a streak.
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
