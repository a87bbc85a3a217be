//! The verdict on a run by its harness, the reasons, and the load generator's own figures.
//!
//! A record is independent of rules. The harness stores this file next to the record, so that a report made
//! later shows the same verdict as the one made at the end of the run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The word of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// The result counts.
    Valid,
    /// It does not.
    NotValid,
    /// The run was ended early.
    Aborted,
}

/// A figure of the load generator, as it reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnFigure {
    /// For example `LoadGen: tokens per second`.
    pub name: String,
    /// In the unit.
    pub value: f64,
    /// As in [`report_page::model::Figure`].
    pub unit: String,
    /// What the load generator means by it.
    pub definition: String,
}

/// A harness's verdict on a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HarnessVerdict {
    /// Whether the result counts.
    pub validity: Validity,
    /// In the harness's words, such as `INVALID`.
    pub result: String,
    /// Why, and what else is to be known, most important first.
    pub reasons: Vec<String>,
    /// What ended the run early, if anything did.
    pub interrupted: Option<String>,
    /// The load generator's figures. They stay the official ones.
    pub figures: Vec<OwnFigure>,
}

impl HarnessVerdict {
    /// `verdict_<stamp>.json` in the folder of a record.
    pub fn path(folder: &Path, stamp: &str) -> PathBuf {
        folder.join(format!("verdict_{stamp}.json"))
    }

    /// Writes the verdict next to its record and returns the path.
    ///
    /// # Errors
    /// [`Error::Write`] if the file cannot be written.
    pub fn write(&self, folder: &Path, stamp: &str) -> Result<PathBuf> {
        let path = Self::path(folder, stamp);
        let mut text =
            serde_json::to_string_pretty(self).expect("strings and finite or null numbers are always JSON");
        text.push('\n');
        crate::files::write(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Reads the verdict next to a record; `None` if there is none.
    ///
    /// # Errors
    /// If there is a file that cannot be read or is no verdict.
    pub fn read(folder: &Path, stamp: &str) -> Result<Option<Self>> {
        let path = Self::path(folder, stamp);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| Error::Verdict { path, source })
    }
}
