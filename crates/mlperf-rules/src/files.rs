//! Names of the files in the folder of LoadGen's logs, and how they are written.

use std::io::{self, Write};
use std::path::Path;

/// Writes a file in one step: a reader sees the old content or the new one, never a part.
///
/// # Errors
/// When the file cannot be written; the old one is then as it was.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".writing-")
        .permissions(readable())
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// As a file made in the usual way, and not for its owner alone as temporary files are; the process's mask applies.
fn readable() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o666)
}

/// LoadGen's log for people.
pub const SUMMARY_LOG: &str = "mlperf_log_summary.txt";
/// LoadGen's log for the submission checker.
pub const DETAIL_LOG: &str = "mlperf_log_detail.txt";
/// LoadGen's log of answers.
pub const ACCURACY_LOG: &str = "mlperf_log_accuracy.json";
/// The accuracy figures, in the form that the submission checker reads.
pub const ACCURACY_TXT: &str = "accuracy.txt";
/// The settings that repeat the run, in a submission too.
pub const USER_CONF: &str = "user.conf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, "old").unwrap();
        write(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
        assert!(write(&dir.path().join("none/a"), "x").is_err());
    }
}
