//! A store that keeps everything in memory: for tests, and for callers that need the rows but no files.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Store, StoreFiles};
use run_model::Result;
use run_model::{Manifest, Record};

/// Records that a [`MemoryStore`] has received.
#[derive(Debug, Clone, Default)]
pub struct MemoryRun {
    /// Every record, in order of arrival.
    pub records: Vec<Record>,
    /// Number of flushes.
    pub flushes: u64,
    /// The final manifest, once finished.
    pub manifest: Option<Manifest>,
}

/// Keeps records in memory, without bound. Clones share their content, so keep one and pass the other.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    run: Arc<Mutex<MemoryRun>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a copy of the records received so far.
    pub fn snapshot(&self) -> MemoryRun {
        self.with(|run| run.clone())
    }

    /// Accesses the records received so far without copying; blocks the writer meanwhile.
    pub fn with<T>(&self, look: impl FnOnce(&mut MemoryRun) -> T) -> T {
        look(&mut self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    fn write(&mut self, record: Record) -> Result<()> {
        self.with(|run| run.records.push(record));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.with(|run| run.flushes += 1);
        Ok(())
    }

    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles> {
        self.with(|run| run.manifest = Some(manifest.clone()));
        Ok(StoreFiles::default())
    }
}
