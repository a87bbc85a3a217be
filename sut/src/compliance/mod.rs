//! Compliance runs: the audit file that LoadGen is given, and the check of what it then logged.

mod test06;

use std::io;
use std::path::{Path, PathBuf};

pub use test06::{Test06, Test06Error, verify};

/// Name of the audit file, in the folder of LoadGen's logs.
pub const AUDIT_CONFIG: &str = "audit.config";
/// Name of the file with the outcome, in a run's folder and in a submission.
pub const VERIFY_ACCURACY: &str = "verify_accuracy.txt";

/// What TEST06 asks of LoadGen, as the round has it: a timed run of few queries without the whole dataset's equal
/// turns, in which LoadGen logs the answers to a hundred of them. The seed chooses which.
const TEST06_AUDIT: &str = "\
# Compliance test TEST06: a timed run whose answers are logged.
*.*.mode = 2
*.*.accuracy_log_rng_seed = 720381539243781796
*.*.accuracy_log_sampling_target = 100
*.*.min_query_count = 100
*.*.min_duration = 0
*.*.sample_concatenate_permutation = 0
";

/// Writes the audit file of TEST06 into a folder, which is made when it is missing.
///
/// # Errors
/// When it cannot be written.
pub fn write_test06_audit(folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(AUDIT_CONFIG);
    std::fs::write(&path, TEST06_AUDIT)?;
    Ok(path)
}
