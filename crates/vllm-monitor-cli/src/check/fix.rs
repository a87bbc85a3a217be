//! Applies the fixes that are safe, looks whether they helped, and writes down how to take them back.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use vllm_monitor::preflight::Change;

use super::{Asked, Report, gather};
use crate::supervise::ServerCommand;

/// One fix that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The check that proposed it.
    pub check: String,
    /// What was changed.
    pub change: Change,
    /// How to take it back.
    pub undo: String,
    /// What went wrong, if it did.
    pub problem: Option<String>,
}

/// The result of repairing.
#[derive(Debug)]
pub struct Repaired {
    /// What was asked, with the changes that concern the server's own process: arguments, variables, limits.
    pub asked: Asked,
    /// What was tried, in order.
    pub applied: Vec<Applied>,
    /// The checks once more.
    pub report: Report,
}

/// Applies every safe fix of a report, and runs the checks again. `undo_file` receives what was done, before it is
/// done.
///
/// # Errors
/// If the undo file cannot be written; nothing was changed then.
pub fn repair(asked: Asked, report: &Report, undo_file: &Path) -> io::Result<Repaired> {
    let mut asked = asked;
    let safe = report
        .findings
        .iter()
        .filter_map(|finding| Some((finding, finding.fix.as_ref().filter(|fix| fix.is_safe)?)));
    let mut applied: Vec<Applied> = safe
        .map(|(finding, fix)| Applied {
            check: finding.check.clone(),
            change: fix.change.clone(),
            undo: fix.undo.clone(),
            problem: None,
        })
        .collect();
    if !applied.is_empty() {
        write(undo_file, &applied)?;
        for fix in &mut applied {
            fix.problem = apply(&fix.change, &mut asked).err();
        }
        write(undo_file, &applied)?;
    }
    let report = Report::of(&gather(&asked));
    Ok(Repaired {
        asked,
        applied,
        report,
    })
}

fn write(path: &Path, applied: &[Applied]) -> io::Result<()> {
    let text = serde_json::to_string_pretty(applied).expect("plain data");
    atomic_file::write(path, text + "\n")
}

fn apply(change: &Change, asked: &mut Asked) -> Result<(), String> {
    match change {
        Change::Folder { path } => fs::create_dir_all(path).map_err(|e| e.to_string()),
        Change::OpenFiles { limit } => {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| e.to_string())?;
            setrlimit(Resource::RLIMIT_NOFILE, (*limit).min(hard), hard).map_err(|e| e.to_string())
        }
        Change::Variable { name, value } => {
            asked.environment.insert(name.clone(), value.clone());
            asked.changed.push((name.clone(), value.clone()));
            Ok(())
        }
        Change::Argument { flag, value } => {
            let mut words: Vec<String> = without(&asked.command.words, flag);
            if !value.is_empty() {
                words.extend([flag.clone(), value.clone()]);
            }
            asked.command = ServerCommand::new(words);
            Ok(())
        }
    }
}

/// A command line without a flag and its value.
fn without(words: &[String], flag: &str) -> Vec<String> {
    let mut kept = Vec::with_capacity(words.len());
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if word == flag {
            words.next_if(|next| !next.starts_with('-'));
        } else if word.strip_prefix(flag).is_none_or(|rest| !rest.starts_with('=')) {
            kept.push(word.clone());
        }
    }
    kept
}

/// Takes back what an undo file lists, newest first: folders that are empty are removed. What concerned a server's own
/// process ended with it. Returns one line for each entry.
///
/// # Errors
/// If the file cannot be read or is not an undo file.
pub fn undo(undo_file: &Path) -> io::Result<Vec<String>> {
    let applied: Vec<Applied> = serde_json::from_str(&fs::read_to_string(undo_file)?)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(applied
        .iter()
        .rev()
        .map(|fix| match &fix.change {
            Change::Folder { path } => match fs::remove_dir(path) {
                Ok(()) => format!("removed {path}"),
                Err(e) => format!("{path} stays: {e}"),
            },
            _ => format!("{}: ended with the server's process", fix.check),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_taken_out_with_its_value() {
        let words = ["vllm", "serve", "m", "--a", "1", "--b=2", "--c"].map(String::from);
        assert_eq!(without(&words, "--a"), ["vllm", "serve", "m", "--b=2", "--c"]);
        assert_eq!(without(&words, "--b"), ["vllm", "serve", "m", "--a", "1", "--c"]);
    }
}
