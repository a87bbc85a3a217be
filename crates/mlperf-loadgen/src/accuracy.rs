//! LoadGen's accuracy log, which contains the bytes of the answers.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// One logged answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedAnswer {
    /// LoadGen's sequence number of the sample.
    pub seq_id: u64,
    /// Index in the sample library.
    pub qsl_idx: u64,
    /// The bytes that the SUT completed with.
    pub data: Vec<u8>,
    /// The bytes of the first token; only in benchmarks with token latencies, and never in Offline.
    pub first_token: Option<Vec<u8>>,
    /// The token count; only in benchmarks with token latencies.
    pub token_count: Option<i64>,
}

/// Reads `mlperf_log_accuracy.json`. Empty after a performance test that logs no answers.
///
/// # Errors
/// [`Error::ReadLog`] if the file cannot be read, is not complete (a killed test leaves no closing bracket), or
/// is not LoadGen's.
pub fn read_accuracy_log(path: &Path) -> Result<Vec<LoggedAnswer>> {
    let bad = |source: std::io::Error| Error::ReadLog {
        path: path.to_owned(),
        source,
    };
    let text = fs::read(path).map_err(bad)?;
    let rows: Vec<Value> = serde_json::from_slice(&text).map_err(|error| bad(error.into()))?;
    rows.iter()
        .enumerate()
        .map(|(i, row)| {
            answer(row).ok_or_else(|| {
                bad(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    format!("answer {i} is not LoadGen's"),
                ))
            })
        })
        .collect()
}

fn answer(row: &Value) -> Option<LoggedAnswer> {
    Some(LoggedAnswer {
        seq_id: row["seq_id"].as_u64()?,
        qsl_idx: row["qsl_idx"].as_u64()?,
        data: from_hex(row["data"].as_str()?)?,
        first_token: match row.get("token_data") {
            None => None,
            Some(hex) => Some(from_hex(hex.as_str()?)?),
        },
        token_count: row.get("token_count").and_then(Value::as_i64),
    })
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| u8::try_from(digit(high)? * 16 + digit(low)?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex() {
        assert_eq!(from_hex("0AFF"), Some(vec![10, 255]));
        assert_eq!(from_hex("0AF"), None);
        assert_eq!(from_hex("G0"), None);
    }
}
