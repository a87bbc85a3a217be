//! How large the files of a long run may grow, and how much of it is kept.

use std::time::Duration;

/// Rows of one part unless told otherwise: 12 MB of memory while it grows, twenty minutes of one vLLM at 1 s.
const DEFAULT_PART_ROWS: usize = 512 * 1024;

/// Options of a file store. The default suits any single run: parts appear only in long ones, and finishing joins
/// them into one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Start a new part when the current one is this large.
    pub rotate_bytes: Option<u64>,
    /// Start a new part when the current one is this old.
    pub rotate_age: Option<Duration>,
    /// Keep at most this many sealed parts of each table; older ones are removed and the reader says so.
    pub keep_parts: Option<usize>,
    /// Remove sealed parts older than this.
    pub keep_age: Option<Duration>,
    /// Leave the parts as they are at the end instead of joining them. Implied by the two limits above.
    pub leave_parts: bool,
}

impl StoreOptions {
    pub(crate) fn part_limits(&self) -> PartLimits {
        PartLimits {
            rows: DEFAULT_PART_ROWS,
            bytes: self.rotate_bytes,
            age: self.rotate_age,
            keep_parts: self.keep_parts,
            keep_age: self.keep_age,
            leave_parts: self.leave_parts,
        }
    }
}

/// [`StoreOptions`] as the tables use them.
#[derive(Debug, Clone)]
pub(crate) struct PartLimits {
    pub(crate) rows: usize,
    pub(crate) bytes: Option<u64>,
    pub(crate) age: Option<Duration>,
    pub(crate) keep_parts: Option<usize>,
    pub(crate) keep_age: Option<Duration>,
    pub(crate) leave_parts: bool,
}

impl PartLimits {
    /// True if parts stay on disk when the run ends.
    pub(crate) fn keeps_parts(&self) -> bool {
        self.leave_parts || self.keep_parts.is_some() || self.keep_age.is_some()
    }
}
