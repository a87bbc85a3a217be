//! Follows a growing log file through rotation and truncation, in bounded portions.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Bytes read at a time; the rest follows at the next call.
const PORTION: usize = 1 << 20;
/// Bytes of a line that are kept; what follows up to the line's end is dropped.
const LONGEST_LINE: usize = 16 << 10;

/// Splits bytes into lines of bounded length. Colour codes are removed, since vLLM colours its log on a terminal.
#[derive(Debug, Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Calls `line` for each line that these bytes complete.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.keep(&bytes[..end]);
            self.finish(&mut line);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// Calls `line` for what came after the last line end.
    pub fn finish(&mut self, mut line: impl FnMut(&str)) {
        if self.partial.last() == Some(&b'\r') {
            self.partial.pop();
        }
        if !self.partial.is_empty() {
            line(&plain(&String::from_utf8_lossy(&self.partial)));
        }
        self.partial.clear();
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The text without terminal escape sequences.
fn plain(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        kept.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after
            .find(|c: char| ('@'..='~').contains(&c))
            .map_or(after.len(), |end| end + 1);
        rest = &after[end..];
    }
    kept.push_str(rest);
    kept
}

/// Follows one file.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    open: Option<Open>,
    /// The file was absent at a look, so the next one is read from its beginning.
    was_absent: bool,
    splitter: LineSplitter,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: (u64, u64),
    at: u64,
}

impl Tail {
    /// Follows `path`. A file that exists already is read from its end; one that appears later, from its beginning.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            was_absent: false,
            splitter: LineSplitter::default(),
        }
    }

    /// Reads what is new. Returns whether there is a file.
    ///
    /// # Errors
    /// What the system says, for anything but an absent file.
    pub fn poll(&mut self, mut line: impl FnMut(&str)) -> io::Result<bool> {
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.was_absent = true;
                // A file that was renamed away may still receive its last lines.
                self.read_on(&mut line)?;
                self.open = None;
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        let inode = (metadata.dev(), metadata.ino());
        match &mut self.open {
            Some(open) if open.inode == inode => {
                if metadata.len() < open.at {
                    open.at = open.file.seek(SeekFrom::Start(0))?;
                }
            }
            other => {
                let is_first = other.is_none() && !self.was_absent;
                if other.is_some() {
                    self.read_on(&mut line)?;
                    self.splitter.finish(&mut line);
                }
                let mut file = File::open(&self.path)?;
                let at = file.seek(if is_first {
                    SeekFrom::End(0)
                } else {
                    SeekFrom::Start(0)
                })?;
                self.open = Some(Open { file, inode, at });
            }
        }
        self.read_on(&mut line)?;
        Ok(true)
    }

    fn read_on(&mut self, line: &mut impl FnMut(&str)) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut bytes = Vec::new();
        let read = open.file.by_ref().take(PORTION as u64).read_to_end(&mut bytes)?;
        open.at += read as u64;
        self.splitter.push(&bytes, line);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_is_followed_through_rotation_and_truncation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vllm.log");
        fs::write(&path, "old line\n").expect("written");
        let mut tail = Tail::new(path.clone());
        let mut lines: Vec<String> = Vec::new();
        let mut poll = |tail: &mut Tail| {
            lines.clear();
            let found = tail.poll(|line| lines.push(line.to_owned())).expect("readable");
            (found, lines.clone())
        };
        assert_eq!(
            poll(&mut tail),
            (true, vec![]),
            "what was there before is not news"
        );

        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(b"\x1b[32mone\x1b[0m\r\ntw").expect("written");
        assert_eq!(poll(&mut tail).1, ["one"]);
        file.write_all(b"o\n").expect("written");
        assert_eq!(poll(&mut tail).1, ["two"]);

        file.write_all(b"last of the old\n").expect("written");
        fs::rename(&path, folder.path().join("vllm.log.1")).expect("rotated");
        fs::write(&path, "first of the new\n").expect("written");
        assert_eq!(poll(&mut tail).1, ["last of the old", "first of the new"]);

        fs::write(&path, "short\n").expect("truncated");
        assert_eq!(poll(&mut tail).1, ["short"]);
        fs::remove_file(&path).expect("removed");
        assert!(!poll(&mut tail).0);
        fs::write(&path, "again\n").expect("written");
        assert_eq!(poll(&mut tail), (true, vec!["again".to_owned()]));
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut splitter = LineSplitter::default();
        let mut longest = 0;
        for _ in 0..100 {
            splitter.push(&[b'x'; 10_000], |line| longest = line.len());
        }
        splitter.push(b"\n", |line| longest = line.len());
        assert_eq!(longest, LONGEST_LINE);
    }
}
