//! One run on disk: the interface behind which each format lives. The writer thread is its only caller.

mod memory;

use std::path::PathBuf;

pub use memory::{MemoryRun, MemoryStore};

use crate::error::Result;
use crate::model::{Manifest, Record};

/// A sink for one run's records.
///
/// Called by one thread only, never by the run itself, so it may block; while it does, the bounded queue before it
/// fills and then drops with a count. Implementations keep what was written readable after a kill at any moment: at
/// most what came after the last [`Store::flush`] may be lost.
pub trait Store: Send {
    /// Take one record. A [`Record::Series`] always comes before the first sample of its series. After an error the
    /// caller counts the record as lost and goes on with the next one.
    fn write(&mut self, record: Record) -> Result<()>;

    /// Make everything taken so far durable enough to survive a kill of this process. Called about once a second,
    /// and never before a write.
    fn flush(&mut self) -> Result<()>;

    /// Write what is left, close all files under their final names and tell what they are called. `manifest` is the
    /// final one: with its end time and all facts.
    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles>;
}

/// The files of one finished run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreFiles {
    /// Samples; empty when the store keeps no files.
    pub samples: PathBuf,
    /// Requests, where the run had any or the format always writes them.
    pub requests: Option<PathBuf>,
    /// Batches.
    pub batches: Option<PathBuf>,
    /// Events.
    pub events: Option<PathBuf>,
    /// Every file written, the ones above included.
    pub all: Vec<PathBuf>,
    /// Their size together.
    pub total_bytes: u64,
}
