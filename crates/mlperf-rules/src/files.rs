//! Names of the files in LoadGen's log folder, and a function that writes them atomically.

use std::io;
use std::path::Path;

/// Writes a file atomically: a reader sees the old content or the new content, never a part.
///
/// # Errors
/// When the file cannot be written; the old content is then unchanged.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    atomic_file::write(path, text)
}

/// LoadGen's human-readable log.
pub const SUMMARY_LOG: &str = "mlperf_log_summary.txt";
/// LoadGen's log for the submission checker.
pub const DETAIL_LOG: &str = "mlperf_log_detail.txt";
/// LoadGen's log of answers.
pub const ACCURACY_LOG: &str = "mlperf_log_accuracy.json";
/// The accuracy figures, in the form that the submission checker reads.
pub const ACCURACY_TXT: &str = "accuracy.txt";
/// The settings that reproduce the run, in a submission too.
pub const USER_CONF: &str = "user.conf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, "old").unwrap();
        // An open file keeps its content only if the new one is another file.
        let mut open = std::fs::File::open(&path).unwrap();
        write(&path, "new").unwrap();
        let mut before = String::new();
        std::io::Read::read_to_string(&mut open, &mut before).unwrap();
        assert_eq!(before, "old");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
        assert!(write(&dir.path().join("none/a"), "x").is_err());
    }
}
