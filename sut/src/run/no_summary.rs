//! A note in LoadGen's log folder that explains a missing summary: LoadGen was given up.

use std::io;
use std::path::{Path, PathBuf};

use crate::harness::counters::Counters;
use crate::shutdown::ShutdownReason;

/// The file name of the note.
pub(crate) const NO_SUMMARY: &str = "NO_SUMMARY.txt";

/// Writes the note and returns its path.
///
/// # Errors
/// The file system's error.
pub(crate) fn write(
    log_dir: &Path,
    reason: Option<&ShutdownReason>,
    counters: &Counters,
) -> io::Result<PathBuf> {
    let path = log_dir.join(NO_SUMMARY);
    let why = reason.map_or_else(|| "the run could not end".to_owned(), ToString::to_string);
    let issued = Counters::get(&counters.issued);
    let completed = Counters::get(&counters.completed);
    let failed = Counters::get(&counters.failed);
    let text = format!(
        "This run was aborted and has no result: {why}.\n\n\
         LoadGen cannot be stopped in the middle of its schedule, so the program ended without waiting for it.\n\
         mlperf_log_summary.txt is empty, mlperf_log_detail.txt ends in the middle, and the list in \
         mlperf_log_accuracy.json is not closed.\n\n\
         Of {issued} queries that LoadGen had issued, {completed} were completed and {failed} answered as failed.\n"
    );
    mlperf_rules::files::write(&path, &text)?;
    Ok(path)
}
