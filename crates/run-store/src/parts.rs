//! The sealed parts of one growing file: numbered from 0, kept within the limits, and at the end joined into
//! one file or left as they are.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::atomic::remove_file;
use super::files::part_path;
use super::options::PartLimits;
use run_model::Result;

/// A sealed part on disk, with the data that its format needs.
#[derive(Debug)]
pub(crate) struct Part<T> {
    pub(crate) path: PathBuf,
    pub(crate) of_format: T,
    #[cfg_attr(
        not(feature = "parquet"),
        allow(dead_code, reason = "only Parquet files name their first part")
    )]
    number: u32,
    sealed: Instant,
}

/// The parts of one file.
#[derive(Debug)]
pub(crate) struct Parts<T> {
    sealed: Vec<Part<T>>,
    /// Number of the part that the growing file will become.
    next: u32,
    pub(crate) limits: PartLimits,
}

impl<T> Parts<T> {
    pub(crate) fn new(limits: PartLimits) -> Self {
        Self {
            sealed: Vec::new(),
            next: 0,
            limits,
        }
    }

    /// Number of the part that the growing file will become.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Number of the oldest existing part, including the growing file.
    #[cfg(feature = "parquet")]
    pub(crate) fn first(&self) -> u32 {
        self.sealed.first().map_or(self.next, |part| part.number)
    }

    /// Path of the next part of the file `main`.
    pub(crate) fn next_path(&self, main: &Path) -> PathBuf {
        part_path(main, self.next)
    }

    /// Adds the next part, at `path`, and removes parts beyond the number or age to keep.
    pub(crate) fn push(&mut self, path: PathBuf, of_format: T) -> Result<()> {
        self.sealed.push(Part {
            path,
            of_format,
            number: self.next,
            sealed: Instant::now(),
        });
        self.next += 1;
        let keep = self.limits.keep_parts.unwrap_or(usize::MAX);
        let excess = self.sealed.len().saturating_sub(keep);
        let old = self.limits.keep_age.map_or(0, |age| {
            let is_old = |part: &&Part<T>| part.sealed.elapsed() > age;
            self.sealed.iter().take_while(is_old).count()
        });
        for part in self.sealed.drain(..excess.max(old)) {
            remove_file(&part.path)?;
        }
        Ok(())
    }

    /// Parts to join into the finished file, oldest first; none when parts are kept.
    pub(crate) fn to_join(&self) -> &[Part<T>] {
        if self.limits.keeps_parts() {
            &[]
        } else {
            &self.sealed
        }
    }

    /// Removes the parts joined into the finished file `main`; returns the remaining files.
    pub(crate) fn finish(self, main: PathBuf) -> Result<Vec<PathBuf>> {
        let mut files = vec![main];
        let joined = !self.limits.keeps_parts();
        for part in self.sealed {
            if joined {
                remove_file(&part.path)?;
            } else {
                files.push(part.path);
            }
        }
        Ok(files)
    }
}
