//! Gzip-compressed files.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// A file may unpack to at most this many times its size plus [`ALWAYS`]. Texts compress by a factor of less
/// than twenty, a hostile file by a thousand.
const EXPANSION: u64 = 100;
const ALWAYS: u64 = 16 << 20;

/// Whether the bytes begin with the gzip magic number.
pub(super) fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b")
}

/// Unpacks a file.
///
/// # Errors
/// A description of the problem.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let limit = (bytes.len() as u64)
        .saturating_mul(EXPANSION)
        .saturating_add(ALWAYS);
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(limit + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| format!("it cannot be unpacked: {error}"))?;
    if unpacked.len() as u64 > limit {
        return Err(format!("it unpacks to more than {EXPANSION} times its size"));
    }
    Ok(unpacked)
}
