//! How much memory may be made of a file.

use super::PickleError;

/// What is made may be at most this many times the file's bytes: an honest file writes each value out (pandas shares
/// equal objects, hence the factor), a hostile one can name one long list a million times.
const EXPANSION: usize = 64;

/// Bytes that may still be made.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// For a file of this length.
    pub(super) fn new(file_len: usize) -> Self {
        Self(file_len.saturating_mul(EXPANSION))
    }

    /// Takes so many bytes out of it.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), PickleError> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| {
            PickleError::Bad(format!(
                "what it holds is more than {EXPANSION} times as large as the file"
            ))
        })?;
        Ok(())
    }
}
