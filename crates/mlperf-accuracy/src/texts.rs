//! The texts of the answers of an accuracy run, collected during the run and written next to LoadGen's logs.
//!
//! LoadGen keeps only token ids, and converting them to text needs the model's tokenizer. The server has
//! already done that, so its text is kept. The token ids remain authoritative.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Name of the file in LoadGen's log folder, with one JSON object per line.
pub const ANSWERS: &str = "answers.jsonl";

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    qsl_idx: usize,
    text: String,
}

/// Texts by sample. The first answer to a sample is kept, as in the reference scripts.
#[derive(Debug, Default)]
pub struct Texts(Mutex<BTreeMap<usize, String>>);

impl Texts {
    /// Keeps one answer's text.
    pub fn keep(&self, sample_index: usize, text: &str) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        texts.entry(sample_index).or_insert_with(|| text.to_owned());
    }

    /// Takes all texts.
    pub fn take(&self) -> BTreeMap<usize, String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes the file.
///
/// # Errors
/// When it cannot be written.
pub fn write_texts(path: &Path, texts: &BTreeMap<usize, String>) -> std::io::Result<()> {
    let mut lines = String::new();
    for (qsl_idx, text) in texts {
        let line = Line {
            qsl_idx: *qsl_idx,
            text: text.clone(),
        };
        lines.push_str(&serde_json::to_string(&line)?);
        lines.push('\n');
    }
    mlperf_rules::files::write(path, &lines)
}

/// Reads the file.
///
/// # Errors
/// When it cannot be read, or a line is malformed.
pub fn read_texts(path: &Path) -> std::io::Result<BTreeMap<usize, String>> {
    let file = BufReader::new(std::fs::File::open(path)?);
    let mut texts = BTreeMap::new();
    for (at, line) in file.lines().enumerate() {
        let line: Line = serde_json::from_str(&line?)
            .map_err(|error| std::io::Error::other(format!("line {}: {error}", at + 1)))?;
        texts.insert(line.qsl_idx, line.text);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_and_the_first_counts() {
        let texts = Texts::default();
        texts.keep(4, "a \"b\"\n");
        texts.keep(4, "later");
        texts.keep(1, "");
        let kept = texts.take();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ANSWERS);
        write_texts(&path, &kept).unwrap();
        assert_eq!(read_texts(&path).unwrap(), kept);
        assert_eq!((kept.len(), kept[&4].as_str()), (2, "a \"b\"\n"));
        std::fs::write(&path, "{}\n").unwrap();
        assert!(read_texts(&path).unwrap_err().to_string().contains("line 1"));
    }
}
