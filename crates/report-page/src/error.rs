//! What can be wrong with the input.

/// Result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The page could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input contradicts itself; correct the caller.
    #[error("run {run:?}: {what}: {problem}")]
    Input {
        /// Name of the run.
        run: String,
        /// Which part, for example the key of a series.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A chart refers to something that is not there; correct the caller.
    #[error("chart {id}: {problem}")]
    Chart {
        /// Its identifier.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A template failed, which is a defect of this library.
    #[error("template: {0}")]
    Template(#[from] minijinja::Error),
    /// Text could not be serialised, which is a defect of this library.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The output could not be written; free space or choose another place.
    #[error("cannot write the trace: {0}")]
    Write(#[from] std::io::Error),
}
