//! The files of a tree. All of them are known before the first is written, so an incomplete tree is never
//! started.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::logs;
use crate::SubmissionError;

/// The content of a file.
#[derive(Debug)]
enum Content {
    /// A generated text.
    Text(String),
    /// A copy of a run's file.
    Copy(PathBuf),
    /// A run's accuracy log, truncated.
    Shortened(PathBuf),
}

/// The files to write, and the problems that prevent writing them.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: Vec<(PathBuf, Content)>,
    problems: Vec<String>,
}

impl Files {
    /// Adds a text. If the file exists, it must be the same: several benchmarks share a system's files.
    pub(super) fn text(&mut self, to: PathBuf, text: String) {
        match fs::read(&to) {
            Ok(there) if there == text.as_bytes() => {}
            Ok(_) => self.problem(format!(
                "{} is there already and says something else: give the same facts and files as for what was laid out \
                 before, or lay out somewhere else",
                to.display()
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.problem(format!("{}: {error}", to.display())),
        }
        self.files.push((to, Content::Text(text)));
    }

    /// Adds an object as JSON.
    pub(super) fn json(&mut self, to: PathBuf, value: &Map<String, Value>) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.text(to, text + "\n"),
            Err(error) => self.problem(format!("{}: {error}", to.display())),
        }
    }

    /// Adds a copy.
    pub(super) fn copy(&mut self, from: PathBuf, to: PathBuf) {
        // A folder can be opened too, but not read.
        let readable = fs::File::open(&from).and_then(|file| file.metadata());
        match readable {
            Ok(metadata) if metadata.is_file() => self.files.push((to, Content::Copy(from))),
            Ok(_) => self.problem(format!("{} is not a file", from.display())),
            Err(error) => self.problem(format!("{}: {error}", from.display())),
        }
    }

    /// Adds a truncated accuracy log; returns the hash of the whole log. `None` when it cannot be read.
    pub(super) fn shortened(&mut self, from: PathBuf, to: PathBuf) -> Option<String> {
        match logs::hash(&from) {
            Ok(hash) => {
                self.files.push((to, Content::Shortened(from)));
                Some(hash)
            }
            Err(error) => {
                self.problem(format!("{}: {error}", from.display()));
                None
            }
        }
    }

    /// The text of a run's file; `None` when it cannot be read.
    pub(super) fn read(&mut self, from: &Path) -> Option<String> {
        match fs::read_to_string(from) {
            Ok(text) => Some(text),
            Err(error) => {
                self.problem(format!("{}: {error}", from.display()));
                None
            }
        }
    }

    /// Records a problem.
    pub(super) fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    /// Fails if there is any problem.
    ///
    /// # Errors
    /// [`SubmissionError`] lists all problems.
    pub(super) fn check(&self) -> Result<(), SubmissionError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(SubmissionError::Files {
            problems: self.problems.clone(),
        })
    }

    /// Writes all files and returns their number.
    ///
    /// # Errors
    /// [`SubmissionError`] names the file that could not be written.
    pub(super) fn write(&self) -> Result<usize, SubmissionError> {
        for (to, content) in &self.files {
            write(to, content).map_err(|source| SubmissionError::Write {
                path: to.clone(),
                source,
            })?;
        }
        Ok(self.files.len())
    }
}

/// Each file is written under a temporary name and then renamed, so that no file of a tree is ever half written.
fn write(to: &Path, content: &Content) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let fill = |out: &mut io::BufWriter<fs::File>| match content {
        Content::Text(text) => out.write_all(text.as_bytes()),
        Content::Copy(from) => fs::File::open(from)
            .and_then(|mut file| io::copy(&mut file, out))
            .map(drop)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", from.display()))),
        Content::Shortened(from) => logs::shorten(from, out),
    };
    atomic_file::replace(to, true, fill, |_, _, error| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_fails_leaves_the_earlier_file_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("tree/to"));
        write(&to, &Content::Text("earlier".to_owned())).unwrap();
        let error = write(&to, &Content::Copy(from.clone())).unwrap_err();
        assert!(error.to_string().contains(&from.display().to_string()), "{error}");
        assert_eq!(fs::read_to_string(&to).unwrap(), "earlier");
        assert_eq!(fs::read_dir(dir.path().join("tree")).unwrap().count(), 1);
    }
}
