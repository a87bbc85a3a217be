//! From samples to text: integer columns, raw deflate, base64.
//!
//! A page holds one block of JSON (names, units, what is where) and per run three blocks of columns. `decode.js`
//! reads what `column.rs` writes.

mod axes;
mod block;
mod column;
mod payload;
mod rows;
pub(crate) mod thin;

pub(crate) use payload::{Payload, encode};

use base64::Engine as _;

/// Compresses a block and makes text of it.
///
/// miniz_oxide by itself and not through flate2: flate2 takes another backend when any crate of a build asks for it,
/// and the same input must give the same bytes.
fn pack(block: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(miniz_oxide::deflate::compress_to_vec(block, 9))
}
