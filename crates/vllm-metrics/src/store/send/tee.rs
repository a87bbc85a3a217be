//! One run into several stores: a file, and a receiver beside it.

use super::super::{Store, StoreFiles};
use crate::error::Result;
use crate::model::{Manifest, Record};

/// Hands every record to a main store and to further ones. What goes wrong in a further one is logged and does not
/// touch the main one.
pub struct Tee {
    main: Box<dyn Store>,
    others: Vec<Box<dyn Store>>,
}

impl std::fmt::Debug for Tee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tee")
            .field("others", &self.others.len())
            .finish_non_exhaustive()
    }
}

impl Tee {
    /// The files of the finished run are those of `main`.
    pub fn new(main: Box<dyn Store>, others: Vec<Box<dyn Store>>) -> Self {
        Self { main, others }
    }
}

impl Store for Tee {
    fn write(&mut self, record: Record) -> Result<()> {
        for other in &mut self.others {
            if let Err(error) = other.write(record.clone()) {
                tracing::warn!(%error, "a further store did not take a record");
            }
        }
        self.main.write(record)
    }

    fn flush(&mut self) -> Result<()> {
        for other in &mut self.others {
            if let Err(error) = other.flush() {
                tracing::warn!(%error, "a further store could not be flushed");
            }
        }
        self.main.flush()
    }

    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles> {
        for other in self.others {
            if let Err(error) = other.finish(manifest) {
                tracing::warn!(%error, "a further store could not be finished");
            }
        }
        self.main.finish(manifest)
    }
}
