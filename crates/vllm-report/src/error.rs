//! Errors between a run in memory and a picture on disk.

use std::path::PathBuf;

/// Result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors, grouped by what the caller can do about them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be written; free space or choose another folder.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The requested size cannot be drawn.
    #[error("cannot draw a picture of {width} x {height} pixels; ask for 1 to 30000 in each direction")]
    Size {
        /// Pixels across.
        width: u64,
        /// Pixels down.
        height: u64,
    },
    /// The picture is too small for its content.
    #[error("cannot lay out a picture of {width} x {height} pixels; ask for a larger one")]
    Layout {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The run does not contain a requested metric.
    #[error("the run holds no metric named {name}; nearest names: {nearest}")]
    UnknownMetric {
        /// The requested name.
        name: String,
        /// Up to three names of the run, or the word none.
        nearest: String,
    },
    /// The series of a metric were to be combined into one line but cannot be; draw each.
    #[error(
        "the series of {name} cannot be drawn as one line: {why}; give --by LABEL, or leave out --together"
    )]
    NotCombined {
        /// The metric.
        name: String,
        /// Why not.
        why: String,
    },
    /// A heat map cannot share a panel with other metrics; draw a grid.
    #[error("the heat map of {name} needs a panel of its own: leave out --overlay or --heatmap")]
    NotOverlaid {
        /// The metric.
        name: String,
    },
    /// The picture could not be encoded.
    #[error("cannot encode {path}: {source}")]
    Encode {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: png::EncodingError,
    },
    /// The summary could not be converted to JSON.
    #[error("cannot encode {path}: {source}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}
