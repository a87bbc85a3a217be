//! Limits on the size and number of a long run's files.

use std::time::Duration;

/// Default rows of one part: 12 MB of memory while it grows, twenty minutes of one vLLM at 1 s.
const DEFAULT_PART_ROWS: usize = 512 * 1024;

/// Options of a file store. The default suits any single run: only long runs are split into parts, and
/// finishing joins them into one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Start a new part when the current one is this large.
    pub rotate_bytes: Option<u64>,
    /// Start a new part when the current one is this old.
    pub rotate_age: Option<Duration>,
    /// Keep at most this many sealed parts of each table; older ones are removed and the reader notes it.
    pub keep_parts: Option<usize>,
    /// Remove sealed parts older than this.
    pub keep_age: Option<Duration>,
    /// Do not join the parts at the end. Implied by the two limits above.
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

/// [`StoreOptions`] in the form that the tables use.
#[derive(Debug, Clone)]
pub(crate) struct PartLimits {
    #[cfg_attr(
        not(feature = "parquet"),
        allow(dead_code, reason = "only Parquet counts the rows of a part")
    )]
    pub(crate) rows: usize,
    pub(crate) bytes: Option<u64>,
    pub(crate) age: Option<Duration>,
    pub(crate) keep_parts: Option<usize>,
    pub(crate) keep_age: Option<Duration>,
    pub(crate) leave_parts: bool,
}

impl PartLimits {
    /// True if parts remain on disk when the run ends.
    pub(crate) fn keeps_parts(&self) -> bool {
        self.leave_parts || self.keep_parts.is_some() || self.keep_age.is_some()
    }
}
