//! What can go wrong between a run in memory and a picture on disk.

use std::path::PathBuf;

/// Result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors by what the caller can do about them.
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
    /// The asked size is not one that can be drawn.
    #[error("cannot draw a picture of {width} x {height} pixels; ask for 1 to 30000 in each direction")]
    Size {
        /// Pixels across.
        width: u64,
        /// Pixels down.
        height: u64,
    },
    /// The picture is too small for what stands in it.
    #[error("cannot lay out a picture of {width} x {height} pixels; ask for a larger one")]
    Layout {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// A metric was asked for that the run does not hold.
    #[error("the run holds no metric named {name}; nearest names: {nearest}")]
    UnknownMetric {
        /// What was asked for.
        name: String,
        /// Up to three names of the run, or the word none.
        nearest: String,
    },
    /// Series of a metric were to be one line, and what they say does not combine; draw each.
    #[error("the series of {name} cannot be drawn as one line: {why}; draw a line for each")]
    NotCombined {
        /// The metric.
        name: String,
        /// Why not.
        why: String,
    },
    /// A heat map was to be one of several things in one panel; draw a grid.
    #[error("the heat map of {name} fills a panel of its own; draw a grid, or quantiles")]
    NotOverlaid {
        /// The metric.
        name: String,
    },
    /// The picture's file could not be encoded.
    #[error("cannot encode {path}: {source}")]
    Encode {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: png::EncodingError,
    },
    /// The summary could not be turned into JSON.
    #[error("cannot encode {path}: {source}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}
