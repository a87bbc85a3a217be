//! A file store that uploads its parts as they are closed, and the rest at the end.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::super::files::{RunFiles, existing_parts};
use super::super::{Store, StoreFiles, StoreFormat, StoreOptions, open_with};
use super::Upload;
use run_model::Result;
use run_model::{Manifest, Record};

/// Wraps a file store, whose files are those of the run.
pub struct UploadingStore {
    inner: Box<dyn Store>,
    upload: Upload,
    /// Files whose parts are kept at the end; parts that will be joined are not uploaded.
    growing: Vec<PathBuf>,
    seen: HashSet<PathBuf>,
}

impl std::fmt::Debug for UploadingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadingStore")
            .field("seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}

impl UploadingStore {
    /// Opens the files of a run like [`open_with`].
    ///
    /// # Errors
    /// As for [`open_with`].
    pub fn open(
        format: StoreFormat,
        dir: &Path,
        manifest: &Manifest,
        options: &StoreOptions,
        upload: Upload,
    ) -> Result<Self> {
        let inner = open_with(format, dir, manifest, options)?;
        let files = RunFiles::new(dir, &manifest.stamp, format);
        let growing = if options.part_limits().keeps_parts() {
            let tables =
                ["requests", "batches", "steps", "engine_requests", "events"].map(|table| files.table(table));
            [files.samples()].into_iter().chain(tables).collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            inner,
            upload,
            growing,
            seen: HashSet::new(),
        })
    }
}

impl Store for UploadingStore {
    fn write(&mut self, record: Record) -> Result<()> {
        self.inner.write(record)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()?;
        for path in &self.growing {
            // A part gets its name only once it is complete.
            for (_, part) in existing_parts(path)? {
                if self.seen.insert(part.clone()) {
                    self.upload.file(part);
                }
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles> {
        let files = self.inner.finish(manifest)?;
        self.upload.files(files.all.iter().cloned());
        Ok(files)
    }
}
