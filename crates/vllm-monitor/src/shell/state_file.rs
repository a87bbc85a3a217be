//! Saved state in a file: written to a temporary file, synced and renamed, so that a crash leaves the old or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::state::StateStore;

/// A state kept in one file.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Kept at `path`; its folder must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.path.with_file_name(name)
    }
}

/// Unusable states that are kept to be looked at.
const MOST_ASIDE: u32 = 10;

impl StateStore for StateFile {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let aside = self.with_suffix(".new");
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        // The new name is durable once the folder is; a file system that cannot sync folders has done what it can.
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let _best_effort = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    fn set_aside(&mut self) -> io::Result<String> {
        let free = (1..MOST_ASIDE)
            .map(|n| self.with_suffix(&format!(".unusable-{n}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| self.with_suffix(&format!(".unusable-{MOST_ASIDE}")));
        fs::rename(&self.path, &free)?;
        Ok(free.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Loaded, Saved, encode, load};

    #[test]
    fn written_read_damaged_and_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = StateFile::new(folder.path().join("state"));
        assert_eq!(load(&mut store), Loaded::Fresh);
        store.replace(&encode(&Saved::default())).expect("written");
        assert_eq!(load(&mut store), Loaded::Restored(Saved::default()));
        assert!(!folder.path().join("state.new").exists());

        // A crash while writing leaves a partial temporary file next to the good one.
        fs::write(folder.path().join("state.new"), b"half").expect("written");
        assert_eq!(load(&mut store), Loaded::Restored(Saved::default()));

        for n in 1..=2 {
            fs::write(store.path(), b"rubbish").expect("written");
            let Loaded::SetAside { place, .. } = load(&mut store) else {
                panic!("it is set aside")
            };
            assert!(place.ends_with(&format!("state.unusable-{n}")), "{place}");
            assert_eq!(load(&mut store), Loaded::Fresh);
        }
    }
}
