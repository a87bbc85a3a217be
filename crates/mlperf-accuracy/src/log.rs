//! LoadGen's `mlperf_log_accuracy.json`: for each answered sample, its index and the reported data in
//! hexadecimal.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One answer of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccuracyRecord {
    /// LoadGen's sequence number of the response.
    pub seq_id: u64,
    /// Index of the sample in the dataset.
    pub sample_index: usize,
    /// The answer's token ids.
    pub token_ids: Vec<i32>,
}

/// Why an accuracy log cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccuracyLogError {
    /// It cannot be read.
    #[error("accuracy log {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The underlying I/O error.
        source: std::io::Error,
    },
    /// It is not an accuracy log, or it is truncated.
    #[error("accuracy log {path}: {what}; was the run cut before LoadGen closed its logs?")]
    Format {
        /// The file.
        path: PathBuf,
        /// The position and the problem.
        what: String,
    },
    /// An answer does not consist of 32-bit token ids.
    #[error("accuracy log {path}: sample {sample_index}: {what}")]
    Answer {
        /// The file.
        path: PathBuf,
        /// Index of the sample.
        sample_index: usize,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Deserialize)]
struct Raw {
    seq_id: u64,
    qsl_idx: usize,
    data: String,
}

/// Reads the log. A sample that was answered more than once (in Offline, LoadGen repeats the dataset to fill
/// the time) is kept once, with its first answer, as the reference scripts do.
///
/// # Errors
/// See [`AccuracyLogError`].
pub fn read_accuracy_log(path: &Path) -> Result<Vec<AccuracyRecord>, AccuracyLogError> {
    let text = std::fs::read(path).map_err(|source| AccuracyLogError::Read {
        path: path.to_owned(),
        source,
    })?;
    let raw: Vec<Raw> = serde_json::from_slice(&text).map_err(|e| AccuracyLogError::Format {
        path: path.to_owned(),
        what: e.to_string(),
    })?;
    let mut seen = HashSet::new();
    raw.into_iter()
        .filter(|record| seen.insert(record.qsl_idx))
        .map(|record| {
            let token_ids = token_ids(&record.data).map_err(|what| AccuracyLogError::Answer {
                path: path.to_owned(),
                sample_index: record.qsl_idx,
                what,
            })?;
            Ok(AccuracyRecord {
                seq_id: record.seq_id,
                sample_index: record.qsl_idx,
                token_ids,
            })
        })
        .collect()
}

/// Parses little-endian 32-bit numbers of eight hexadecimal digits each.
fn token_ids(hex: &str) -> Result<Vec<i32>, String> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(8) {
        return Err(format!(
            "{} hexadecimal digits, which are no whole 32-bit token ids",
            digits.len()
        ));
    }
    digits
        .chunks_exact(8)
        .map(|word| {
            let mut bytes = [0; 4];
            for (byte, pair) in bytes.iter_mut().zip(word.chunks_exact(2)) {
                let digit = |d: u8| char::from(d).to_digit(16);
                let value = digit(pair[0])
                    .zip(digit(pair[1]))
                    .map(|(high, low)| high * 16 + low);
                *byte = value
                    .and_then(|v| u8::try_from(v).ok())
                    .ok_or("not hexadecimal")?;
            }
            Ok(i32::from_le_bytes(bytes))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<AccuracyRecord>, AccuracyLogError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mlperf_log_accuracy.json");
        std::fs::write(&path, text).unwrap();
        read_accuracy_log(&path)
    }

    #[test]
    fn as_loadgen_writes_it() {
        let records = read(
            "[\n{ \"seq_id\" : 0, \"qsl_idx\" : 3, \"data\" : \"0100000039300000\", \"token_count\" : 2 },\n\
             { \"seq_id\" : 1, \"qsl_idx\" : 0, \"data\" : \"\", \"token_count\" : 0 },\n\
             { \"seq_id\" : 2, \"qsl_idx\" : 3, \"data\" : \"FFFFFF7f\", \"token_count\" : 1 }\n]\n",
        )
        .unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(
            (records[0].sample_index, records[0].token_ids.as_slice()),
            (3, [1, 12345].as_slice())
        );
        assert!(records[1].token_ids.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong =
            |data: &str| read(&format!("[{{\"seq_id\":0,\"qsl_idx\":7,\"data\":\"{data}\"}}]")).unwrap_err();
        assert!(wrong("0100").to_string().contains("sample 7"));
        assert!(wrong("0100zz00").to_string().contains("not hexadecimal"));
        assert!(
            read("[\n{ \"seq_id\" : 0,")
                .unwrap_err()
                .to_string()
                .contains("cut before")
        );
        let missing = read_accuracy_log(Path::new("no/such.json")).unwrap_err();
        assert!(missing.to_string().contains("no/such.json"));
    }
}
