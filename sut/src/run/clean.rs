//! Removes or moves an earlier run's files from LoadGen's log folder. LoadGen overwrites its own logs, but
//! other files of this program would be mistaken for the new run's where that run writes none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use mlperf_rules::RunRecord;

use super::no_summary::NO_SUMMARY;
use crate::exit::Fail;
use crate::server::is_server_log;
use mlperf_accuracy::ANSWERS;
use mlperf_rules::ENVIRONMENT;
use mlperf_rules::RUN_RECORD;
use mlperf_rules::compliance::{AUDIT_CONFIG, ComplianceTest};
use mlperf_rules::files::ACCURACY_TXT;

/// Prevents other runs of this program from using a folder while the file is open.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] when another run is using the folder.
pub(super) fn lock(log_dir: &Path) -> Result<fs::File, Fail> {
    let folder = fs::File::open(log_dir)
        .map_err(|error| Fail::usage(anyhow!("--output-log-dir {}: {error}", log_dir.display())))?;
    match folder.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(Fail::usage(anyhow!(
            "--output-log-dir {}: another run writes there; wait for its end, or choose another folder",
            log_dir.display()
        ))),
        // A file system without locks cannot exclude other runs.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(folder),
    }
}

/// Clears the folder for a new run. A run that counts is kept: it is moved to the folder's name with `.1`,
/// `.2` and so on. Of any other run, the files written by this program are removed.
///
/// # Errors
/// The file system's error, with the file's name.
pub(super) fn make_room(
    log_dir: &Path,
    audit_in_effect: Option<&Path>,
    user_conf: Option<&Path>,
) -> io::Result<()> {
    if RunRecord::read(log_dir).is_ok_and(|record| record.counts) {
        let kept = keep(log_dir, [audit_in_effect, user_conf])?;
        tracing::warn!(
            "{} holds a run that counts; its files were moved to {}",
            log_dir.display(),
            kept.display()
        );
    }
    remove(log_dir, audit_in_effect)
}

/// Moves the files of a run to a folder next to its own and returns that folder. Files `in_use` are copied.
fn keep(log_dir: &Path, in_use: [Option<&Path>; 2]) -> io::Result<PathBuf> {
    let mut number = 1_u32;
    let kept = loop {
        let mut name = log_dir.as_os_str().to_owned();
        name.push(format!(".{number}"));
        match fs::create_dir(&name) {
            Ok(()) => break PathBuf::from(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(named(Path::new(&name), &error)),
        }
    };
    for entry in fs::read_dir(log_dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else {
            continue;
        };
        // A started server has already opened its log for this run.
        if is_server_log(name) {
            continue;
        }
        let to = kept.join(name);
        let used = in_use.into_iter().flatten().any(|used| same_file(used, &path));
        let moved = if used {
            fs::copy(&path, &to).map(drop)
        } else {
            fs::rename(&path, &to)
        };
        moved.map_err(|error| named(&path, &error))?;
    }
    Ok(kept)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Removes the files. An audit file is removed only if this program wrote it and it is not `in_effect`.
///
/// # Errors
/// The file system's error, with the file's name; a missing file is not an error.
fn remove(log_dir: &Path, in_effect: Option<&Path>) -> io::Result<()> {
    let outcomes = ComplianceTest::ALL.map(ComplianceTest::outcome_file);
    let names = [ACCURACY_TXT, ANSWERS, RUN_RECORD, ENVIRONMENT, NO_SUMMARY];
    for name in names.into_iter().chain(outcomes) {
        remove_file(&log_dir.join(name))?;
    }
    for entry in fs::read_dir(log_dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("result_") && name.ends_with(".json") {
            remove_file(&path)?;
        }
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

/// Whether two paths lead to the same file; false if either is missing.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::SERVER_LOG;

    #[test]
    fn a_run_that_counts_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let logs = parent.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let record = |counts: bool| {
            serde_json::json!({
                "program": "sut", "benchmark": "llama3_1-8b", "scenario": "Offline", "kind": "performance",
                "simulated": true, "result": "", "counts": counts, "findings": [], "model": "m",
                "server_version": null, "server_on_this_host": true, "dataset": "d", "samples": 1,
                "max_tokens": 1, "batch_size": 1, "concurrency": 1, "target_qps": 1.0,
            })
            .to_string()
        };
        let run = |counts: bool, mark: &str| {
            fs::write(logs.join(RUN_RECORD), record(counts)).unwrap();
            fs::write(logs.join("mlperf_log_summary.txt"), mark).unwrap();
            fs::write(logs.join("user.conf"), "mine").unwrap();
            fs::write(logs.join(SERVER_LOG), "new").unwrap();
        };
        let conf = logs.join("user.conf");
        run(true, "first");
        make_room(&logs, None, Some(&conf)).unwrap();
        run(true, "second");
        make_room(&logs, None, None).unwrap();
        run(false, "third");
        make_room(&logs, None, None).unwrap();
        let kept = |number: u32, name: &str| {
            fs::read_to_string(parent.path().join(format!("logs.{number}")).join(name)).ok()
        };
        assert_eq!(kept(1, "mlperf_log_summary.txt").as_deref(), Some("first"));
        assert_eq!(kept(1, "user.conf").as_deref(), Some("mine"));
        assert_eq!(kept(2, "mlperf_log_summary.txt").as_deref(), Some("second"));
        assert_eq!(kept(1, SERVER_LOG), None);
        assert!(!parent.path().join("logs.3").exists());
        assert!(
            !logs.join(RUN_RECORD).exists(),
            "of a run that does not count nothing is kept"
        );
        assert!(logs.join("user.conf").exists() && logs.join(SERVER_LOG).exists());
    }

    #[test]
    fn two_runs_do_not_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let refused = lock(dir.path()).unwrap_err();
        assert!(format!("{:#}", refused.error).contains("another run writes there"));
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

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
