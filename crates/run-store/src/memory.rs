//! A store that keeps everything in memory: for tests, and for callers that want the rows and no files.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Store, StoreFiles};
use run_model::Result;
use run_model::{Manifest, Record};

/// What a [`MemoryStore`] has taken so far.
#[derive(Debug, Clone, Default)]
pub struct MemoryRun {
    /// Every record, in order of arrival.
    pub records: Vec<Record>,
    /// How often the store was flushed.
    pub flushes: u64,
    /// The final manifest, once finished.
    pub manifest: Option<Manifest>,
}

/// Keeps records in memory, without bound. Clones share their content, so keep one and give the other away.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    run: Arc<Mutex<MemoryRun>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of what has been taken so far.
    pub fn snapshot(&self) -> MemoryRun {
        self.with(|run| run.clone())
    }

    /// Looks at what has been taken so far without copying it; the writer waits meanwhile.
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
