//! A limit on the memory that reading a file may allocate.

use super::PickleError;

/// The decoded data may be at most this many times the size of the file. An honest file writes each value out
/// (the factor is for equal objects, which pandas shares); a hostile file can refer to one long list a
/// million times.
const EXPANSION: usize = 64;

/// Number of bytes that may still be allocated.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// The budget for a file of this length.
    pub(super) fn new(file_len: usize) -> Self {
        Self(file_len.saturating_mul(EXPANSION))
    }

    /// Takes `bytes` out of the budget.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), PickleError> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| {
            PickleError::Bad(format!(
                "what it holds is more than {EXPANSION} times as large as the file"
            ))
        })?;
        Ok(())
    }
}
