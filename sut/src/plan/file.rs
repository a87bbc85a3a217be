//! The configuration file: one flat table whose keys are the flags of a command.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use crate::cli::{CollectArgs, Merge, RunArgs};

/// Why a configuration file cannot be used. Values are never shown, since they may be secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file cannot be read.
    #[error("--config {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The file is not TOML, or a value has the wrong type.
    #[error("--config {} line {line}, column {column}: {what}", path.display())]
    Value {
        path: PathBuf,
        line: usize,
        column: usize,
        what: String,
    },
}

/// The flags of a test run, merged with its configuration file.
pub(crate) fn run_args(line: RunArgs) -> Result<RunArgs, FileError> {
    let Some(path) = line.config.clone() else {
        return Ok(line);
    };
    let text = read(&path)?;
    let mut file = File::parse::<RunArgs>(&path, &text)?;
    let (metrics, recording) = (file.take()?, file.take()?);
    let file = RunArgs {
        metrics,
        recording,
        ..file.take()?
    };
    Ok(line.over(file))
}

/// The flags of `sut collect`, merged with its configuration file.
pub(crate) fn collect_args(line: CollectArgs) -> Result<CollectArgs, FileError> {
    let Some(path) = line.config.clone() else {
        return Ok(line);
    };
    let text = read(&path)?;
    let mut file = File::parse::<CollectArgs>(&path, &text)?;
    let recording = file.take()?;
    let file = CollectArgs {
        recording,
        ..file.take()?
    };
    Ok(line.over(file))
}

fn read(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })
}

/// A file that is split group by group, since serde cannot flatten one struct into another and still refuse
/// unknown keys.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    span: std::ops::Range<usize>,
    left: DeTable<'a>,
}

impl<'a> File<'a> {
    /// Parses the text and refuses keys that are not flags of `T`.
    fn parse<T: Args>(path: &'a Path, text: &'a str) -> Result<Self, FileError> {
        let root = DeTable::parse(text).map_err(|error| wrong(path, text, &error))?;
        let known = flags_of::<T>();
        let span = root.span();
        let left = root.into_inner();
        for key in left.keys() {
            if !known.iter().any(|flag| flag == key.get_ref()) {
                let near = known
                    .iter()
                    .map(|flag| (strsim::jaro_winkler(flag, &key.get_ref().replace('_', "-")), flag))
                    .filter(|(likeness, _)| *likeness > 0.85)
                    .max_by(|a, b| a.0.total_cmp(&b.0));
                let advice = near.map_or_else(
                    || "keys are the long flags of the command without the dashes in front".to_owned(),
                    |(_, flag)| format!("did you mean {flag}?"),
                );
                let (line, column) = place(text, key.span().start);
                return Err(FileError::Value {
                    path: path.to_owned(),
                    line,
                    column,
                    what: format!("unknown key {}: {advice}", key.get_ref()),
                });
            }
        }
        Ok(Self {
            path,
            text,
            span,
            left,
        })
    }

    /// Removes and returns the keys of one group of flags.
    fn take<T: Args + DeserializeOwned>(&mut self) -> Result<T, FileError> {
        let flags = flags_of::<T>();
        let mut mine = DeTable::new();
        for (key, value) in std::mem::take(&mut self.left) {
            if flags.iter().any(|flag| flag == key.get_ref()) {
                mine.insert(key, value);
            } else {
                self.left.insert(key, value);
            }
        }
        T::deserialize(Deserializer::from(Spanned::new(self.span.clone(), mine)))
            .map_err(|error| wrong(self.path, self.text, &error))
    }
}

/// The keys of a group of flags: the flags' long names.
fn flags_of<T: Args>() -> Vec<String> {
    T::augment_args(clap::Command::new("keys"))
        .get_arguments()
        .filter(|argument| argument.get_id() != "config")
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect()
}

/// The parser's error without the quoted line.
fn wrong(path: &Path, text: &str, error: &toml::de::Error) -> FileError {
    let (line, column) = place(text, error.span().map_or(0, |span| span.start));
    let written = text.lines().nth(line - 1).unwrap_or_default();
    let key = written.split_once('=').map_or("", |(key, _)| key.trim());
    let what = without_value(error.message());
    FileError::Value {
        path: path.to_owned(),
        line,
        column,
        what: if key.is_empty() {
            what
        } else {
            format!("{key}: {what}")
        },
    }
}

/// `invalid type: string "secret", expected u32` without the secret.
fn without_value(message: &str) -> String {
    let quoted = message.find("string \"").map(|at| at + "string ".len());
    match (quoted, message.rfind("\", expected")) {
        (Some(from), Some(to)) if from <= to => format!("{}…{}", &message[..from], &message[to + 1..]),
        _ => message.to_owned(),
    }
}

/// Line and column of a byte, counted from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
