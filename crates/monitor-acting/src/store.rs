//! Stores the state that survives a restart in one file: written aside, synced and renamed, with a checksum.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::Memory;
use crate::error::{Error, Result};

const MAGIC: &str = "monitor-acting 1";

/// Lower-case hexadecimal SHA-256.
pub(crate) fn hash_hex(parts: &[&[u8]]) -> String {
    use std::fmt::Write as _;
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part);
    }
    sha.finalize()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

/// A file that keeps a [`Memory`].
#[derive(Debug, Clone)]
pub struct MemoryFile {
    path: PathBuf,
}

impl MemoryFile {
    /// A file at this path, whose folder must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the stored state: after a crash at any moment either the old or the new one exists.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, memory: &Memory) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        let body = serde_json::to_vec(memory).expect("plain data with text keys");
        let header = format!("{MAGIC} {}\n", hash_hex(&[&body]));
        let aside = self.path.with_extension("new");
        let mut file = File::create(&aside).map_err(io)?;
        file.write_all(header.as_bytes()).map_err(io)?;
        file.write_all(&body).map_err(io)?;
        file.sync_all().map_err(io)?;
        fs::rename(&aside, &self.path).map_err(io)?;
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let _best_effort = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    /// The last saved state; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::State`] if the file is damaged or of another version, [`Error::Io`] if it cannot be read.
    pub fn load(&self) -> Result<Option<Memory>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&self.path, e)),
        };
        let wrong = |problem: String| Error::State {
            file: self.path.display().to_string(),
            problem,
        };
        let end = bytes
            .iter()
            .take(200)
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| wrong("it has no header".into()))?;
        let (header, body) = (&bytes[..end], &bytes[end + 1..]);
        let sum = header
            .strip_prefix(MAGIC.as_bytes())
            .and_then(|rest| rest.strip_prefix(b" "))
            .ok_or_else(|| wrong("its header is not that of this version".into()))?;
        if sum != hash_hex(&[body]).as_bytes() {
            return Err(wrong("its checksum is wrong".into()));
        }
        serde_json::from_slice(body)
            .map(Some)
            .map_err(|e| wrong(e.to_string()))
    }

    /// Like [`MemoryFile::load`], but an unusable file is renamed and reported, and the memory starts empty,
    /// so that a damaged file does not prevent a monitor from starting.
    ///
    /// The state of the breaker is then unknown; the caller should stay in observe mode until an operator has
    /// checked.
    pub fn load_or_set_aside(&self) -> (Memory, Option<Error>) {
        match self.load() {
            Ok(memory) => (memory.unwrap_or_default(), None),
            Err(error) => {
                let aside = self.path.with_extension("unusable");
                let _best_effort = fs::rename(&self.path, aside);
                (Memory::default(), Some(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_read_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = MemoryFile::new(folder.path().join("acting.state"));
        assert!(file.load().expect("there is none").is_none());
        let mut memory = Memory::default();
        memory.breaker.trip(crate::Time::from_secs_f64(3.0), "test");
        file.save(&memory).expect("saved");
        assert_eq!(file.load().expect("good"), Some(memory));
        let good = fs::read(file.path()).expect("it is there");
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(file.path(), bad).expect("written");
            assert!(file.load().is_err(), "a flipped bit at {place}");
        }
        let (memory, error) = file.load_or_set_aside();
        assert_eq!(memory, Memory::default());
        assert!(
            error
                .expect("it was damaged")
                .to_string()
                .contains("acting.state")
        );
        assert!(folder.path().join("acting.unusable").exists());
    }
}
