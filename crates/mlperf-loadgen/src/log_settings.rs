//! Where LoadGen writes its logs, and the checks before it does.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ffi::RawLogSettings;

/// LoadGen's `LogSettings` and the audit configuration's path.
///
/// LoadGen's logging mode and poll interval are left out: it implements only one mode and ignores the
/// interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The folder, which must exist.
    pub outdir: PathBuf,
    /// Prefix of every file name.
    pub prefix: String,
    /// Suffix of every file name, before the extension.
    pub suffix: String,
    /// Put the date and time before the prefix.
    pub prefix_with_datetime: bool,
    /// Also write the detail log to standard output.
    pub copy_detail_to_stdout: bool,
    /// Also write the summary to standard output.
    pub copy_summary_to_stdout: bool,
    /// Write a Chrome trace of every sample. Off, unlike in LoadGen: the file is large, and writing it slows
    /// high rates down. LoadGen creates the file (empty) in any case.
    pub enable_trace: bool,
    /// An audit configuration, for compliance tests. `None` ensures that none is read: LoadGen by itself
    /// would use an `audit.config` in the working directory and change the test accordingly.
    pub audit_config: Option<PathBuf>,
}

impl LogSettings {
    /// Logs into a folder, with LoadGen's file names, no trace and no audit configuration.
    pub fn new(outdir: impl Into<PathBuf>) -> Self {
        Self {
            outdir: outdir.into(),
            prefix: "mlperf_log_".to_owned(),
            suffix: String::new(),
            prefix_with_datetime: false,
            copy_detail_to_stdout: false,
            copy_summary_to_stdout: false,
            enable_trace: false,
            audit_config: None,
        }
    }

    /// The path of the detail log. `None` if its name contains the start time, which only LoadGen knows.
    pub fn detail_path(&self) -> Option<PathBuf> {
        self.path("detail", "txt")
    }

    /// The path of the summary. `None` if its name contains the start time.
    pub fn summary_path(&self) -> Option<PathBuf> {
        self.path("summary", "txt")
    }

    /// The path of the accuracy log. `None` if its name contains the start time.
    pub fn accuracy_path(&self) -> Option<PathBuf> {
        self.path("accuracy", "json")
    }

    fn path(&self, what: &str, extension: &str) -> Option<PathBuf> {
        (!self.prefix_with_datetime).then(|| {
            self.outdir
                .join(format!("{}{what}{}.{extension}", self.prefix, self.suffix))
        })
    }

    /// Checks that the folder exists and is writable, and that the audit configuration is valid.
    ///
    /// [`run_test`](crate::run_test) checks too; call this to find out early.
    ///
    /// # Errors
    /// [`Error::LogFolder`] or [`Error::AuditConfig`].
    pub fn check(&self) -> Result<()> {
        let bad = |problem: String| Error::LogFolder {
            path: self.outdir.clone(),
            problem,
        };
        let metadata = fs::metadata(&self.outdir).map_err(|error| bad(error.to_string()))?;
        if !metadata.is_dir() {
            return Err(bad("is not a folder".to_owned()));
        }
        if self.prefix.contains(['/', '\0']) || self.suffix.contains(['/', '\0']) {
            return Err(bad(
                "the file names' prefix and suffix must not hold a slash".to_owned()
            ));
        }
        self.outdir
            .to_str()
            .ok_or_else(|| bad("is not UTF-8".to_owned()))?;
        // Only an attempt is reliable: permissions, read-only mounts and full inode tables all look
        // different.
        let probe = self
            .outdir
            .join(format!(".loadgen-write-check-{}", std::process::id()));
        fs::write(&probe, b"x").map_err(|error| bad(format!("cannot be written: {error}")))?;
        fs::remove_file(&probe).map_err(|error| bad(error.to_string()))?;
        for path in [
            self.detail_path(),
            self.summary_path(),
            self.accuracy_path(),
            self.path("trace", "json"),
        ]
        .into_iter()
        .flatten()
        {
            // A file of an earlier run is replaced, so it must be writable.
            if path.exists() {
                let open = fs::OpenOptions::new().append(true).open(&path);
                open.map_err(|error| bad(format!("{} cannot be replaced: {error}", path.display())))?;
            }
        }
        self.audit_path().map(drop)
    }

    /// The path to pass to LoadGen: an empty path never names a file.
    pub(crate) fn audit_path(&self) -> Result<&str> {
        let Some(path) = &self.audit_config else {
            return Ok("");
        };
        let bad = |problem: &str| Error::AuditConfig {
            path: path.clone(),
            problem: problem.to_owned(),
        };
        if !Path::is_file(path) {
            return Err(bad("is not a file"));
        }
        crate::config::check_audit_config(path)?;
        path.to_str().ok_or_else(|| bad("is not UTF-8"))
    }

    pub(crate) fn to_raw(&self) -> RawLogSettings {
        RawLogSettings {
            outdir: self.outdir.to_string_lossy().into_owned(),
            prefix: self.prefix.clone(),
            suffix: self.suffix.clone(),
            prefix_with_datetime: self.prefix_with_datetime,
            copy_detail_to_stdout: self.copy_detail_to_stdout,
            copy_summary_to_stdout: self.copy_summary_to_stdout,
            enable_trace: self.enable_trace,
        }
    }
}
