//! A text file that is complete after every flush.
//!
//! Appending would be simpler, but a kill during a write leaves half a row, and a JSON array needs its
//! closing bracket. So each version is written under a temporary name and renamed. To bound that cost, the
//! file becomes a part when it reaches a few megabytes and a new one is started; finishing joins the parts.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::assemble::Assembler;
use super::super::atomic::replace_file;
use super::super::files::existing_parts;
use super::super::options::PartLimits;
use super::super::parts::Parts;
use super::body_start;
use run_model::{Error, Result};

/// On average, half of it is copied at each flush.
const PART_BYTES: u64 = 4 << 20;

/// Position of the rows in a part.
type Body = std::ops::Range<u64>;

/// One growing file.
pub(crate) struct GrowingFile {
    path: PathBuf,
    /// Text before the rows; may grow, since it is rewritten with each version.
    pub(crate) header: Vec<u8>,
    separator: &'static str,
    footer: &'static str,
    body: Vec<u8>,
    flushed: Option<(usize, usize)>,
    parts: Parts<Body>,
    started: Instant,
}

impl GrowingFile {
    pub(crate) fn new(
        path: PathBuf,
        header: &str,
        separator: &'static str,
        footer: &'static str,
        limits: PartLimits,
    ) -> Self {
        Self {
            path,
            header: header.as_bytes().to_vec(),
            separator,
            footer,
            body: Vec::new(),
            flushed: None,
            parts: Parts::new(limits),
            started: Instant::now(),
        }
    }

    /// Buffer for the next row.
    pub(crate) fn row(&mut self) -> &mut Vec<u8> {
        if !self.body.is_empty() {
            self.body.extend_from_slice(self.separator.as_bytes());
        }
        &mut self.body
    }

    /// True if the next row is the first of its file.
    pub(crate) fn is_fresh(&self) -> bool {
        self.body.is_empty()
    }

    /// True once a file exists or rows wait for one.
    pub(crate) fn any(&self) -> bool {
        self.flushed.is_some() || self.parts.next() > 0 || !self.body.is_empty()
    }

    /// Writes new rows to the file, if there are any.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let state = (self.header.len(), self.body.len());
        if self.flushed == Some(state) {
            return Ok(());
        }
        replace_file(&self.path, false, |out| {
            let written = out
                .write_all(&self.header)
                .and_then(|()| out.write_all(&self.body));
            written
                .and_then(|()| out.write_all(self.footer.as_bytes()))
                .map_err(Error::io("write", &self.path))
        })?;
        self.flushed = Some(state);
        self.seal_if_due()
    }

    /// Flushes a full buffer to bound memory between flushes: call after adding rows.
    pub(crate) fn flush_if_full(&mut self) -> Result<()> {
        if self.body.len() as u64 >= 2 * PART_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn seal_if_due(&mut self) -> Result<()> {
        let limits = &self.parts.limits;
        let bytes = limits.bytes.unwrap_or(PART_BYTES).min(PART_BYTES);
        let full = self.body.len() as u64 >= bytes;
        let old = limits.age.is_some_and(|age| self.started.elapsed() >= age);
        if self.body.is_empty() || !(full || old) {
            return Ok(());
        }
        // The current file becomes the part: at no moment do two files hold the same rows.
        let path = self.parts.next_path(&self.path);
        fs::rename(&self.path, &path).map_err(Error::io("rename", &self.path))?;
        let start = self.header.len() as u64;
        let body = start..start + self.body.len() as u64;
        self.body.clear();
        self.flushed = None;
        self.started = Instant::now();
        self.parts.push(path, body)
    }

    /// Writes the last version, with the parts joined unless they are kept. Returns the files.
    pub(crate) fn finish(self) -> Result<Vec<PathBuf>> {
        replace_file(&self.path, true, |out| {
            let io = || Error::io("write", &self.path);
            out.write_all(&self.header).map_err(io())?;
            let mut first = true;
            for part in self.parts.to_join() {
                if !first {
                    out.write_all(self.separator.as_bytes()).map_err(io())?;
                }
                first = false;
                let mut file = File::open(&part.path).map_err(Error::io("open", &part.path))?;
                let body = &part.of_format;
                file.seek(SeekFrom::Start(body.start))
                    .map_err(Error::io("read", &part.path))?;
                let mut rows = file.take(body.end - body.start);
                std::io::copy(&mut rows, out).map_err(Error::io("read", &part.path))?;
            }
            if !first && !self.body.is_empty() {
                out.write_all(self.separator.as_bytes()).map_err(io())?;
            }
            out.write_all(&self.body).map_err(io())?;
            out.write_all(self.footer.as_bytes()).map_err(io())
        })?;
        self.parts.finish(self.path)
    }
}

/// The files whose rows make up one table, oldest first, with their content.
pub(crate) fn contents(path: &Path, run: &mut Assembler) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let read = |path: &Path| fs::read(path).map_err(Error::io("read", path));
    let main = if path.exists() { Some(read(path)?) } else { None };
    let mut contents = Vec::new();
    let mut expected = None;
    for (number, part) in existing_parts(path)? {
        let bytes = read(&part)?;
        match expected {
            // A kill interrupted the removal of joined parts: the main file begins like its first part.
            None if main
                .as_deref()
                .is_some_and(|main| starts_alike(path, main, &bytes)) =>
            {
                break;
            }
            None if number > 0 => {
                run.notes.push(format!(
                    "retention removed {number} older part(s) of {}",
                    path.display()
                ));
            }
            Some(expected) if number > expected => {
                run.notes.push(format!(
                    "part(s) {expected} to {} of {} are missing",
                    number - 1,
                    path.display()
                ));
            }
            _ => {}
        }
        expected = Some(number + 1);
        contents.push((part, bytes));
    }
    contents.extend(main.map(|bytes| (path.to_path_buf(), bytes)));
    Ok(contents)
}

/// True if both begin with the same rows; rows carry times, so different parts never do.
fn starts_alike(path: &Path, a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (&a[body_start(path, a)..], &b[body_start(path, b)..]);
    // A part ends with its footer, which is elsewhere in a joined file.
    let length = a.len().min(b.len()).min(4096).saturating_sub(8);
    length > 0 && a[..length] == b[..length]
}
