//! What an earlier run left in the folder of LoadGen's logs. LoadGen overwrites its own logs; the files that this
//! program writes beside them would be taken for the new run's, wherever that one writes none.

use std::fs;
use std::io;
use std::path::Path;

use crate::no_summary::NO_SUMMARY;
use mlperf_accuracy::ANSWERS;
use mlperf_rules::ENVIRONMENT;
use mlperf_rules::RUN_RECORD;
use mlperf_rules::compliance::{AUDIT_CONFIG, ComplianceTest};
use mlperf_rules::files::ACCURACY_TXT;

/// Removes them. An audit file goes only when this program wrote it and it is not `in_effect`.
///
/// # Errors
/// What the file system says, with the file's name, but for a file that is not there.
pub fn remove(log_dir: &Path, in_effect: Option<&Path>) -> io::Result<()> {
    let outcomes = ComplianceTest::ALL.map(ComplianceTest::outcome_file);
    let names = [ACCURACY_TXT, ANSWERS, RUN_RECORD, ENVIRONMENT, NO_SUMMARY];
    for name in names.into_iter().chain(outcomes) {
        remove_file(&log_dir.join(name))?;
    }
    let audit = log_dir.join(AUDIT_CONFIG);
    let wanted = in_effect.is_some_and(|path| same_file(path, &audit));
    if !wanted && fs::read_to_string(&audit).is_ok_and(|text| ComplianceTest::wrote(&text)) {
        remove_file(&audit)?;
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io::Error::new(
            error.kind(),
            format!("{} of an earlier run cannot be removed: {error}", path.display()),
        )),
        _ => Ok(()),
    }
}

/// Whether two paths lead to one file; two that are not there do not.
pub fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_program_wrote_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let ours = [
            "accuracy.txt",
            "answers.jsonl",
            "verify_accuracy.txt",
            "verify_output_len.txt",
            "sut_run.json",
            "environment.json",
            "NO_SUMMARY.txt",
        ];
        let others = [
            "user.conf",
            "mlperf_log_detail.txt",
            "vllm_server.log",
            "notes.txt",
        ];
        for name in ours.iter().chain(&others) {
            fs::write(at(name), "x").unwrap();
        }
        let audit = ComplianceTest::Test06.write_audit(dir.path(), 100).unwrap();
        remove(dir.path(), Some(&audit)).unwrap();
        assert!(ours.iter().all(|name| !at(name).exists()));
        assert!(others.iter().all(|name| at(name).exists()));
        assert!(audit.exists(), "it is in effect");
        remove(dir.path(), None).unwrap();
        assert!(!audit.exists());
        fs::write(&audit, "# mine\n*.*.mode = 2\n").unwrap();
        remove(dir.path(), None).unwrap();
        assert!(audit.exists(), "a person wrote it");
    }
}
