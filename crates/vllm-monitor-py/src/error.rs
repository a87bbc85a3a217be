//! Errors of starting and ending a watch. A running watch has none: what fails is counted.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a watch could not be started or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recorder could not open or close the record.
    #[error(transparent)]
    Recorder(#[from] vllm_metrics::Error),
    /// A setting of the monitor is wrong.
    #[error(transparent)]
    Settings(#[from] vllm_monitor::Error),
    /// A strategy or a file of the acting part cannot be used.
    #[error("{0}")]
    Acting(String),
    /// The system refused a thread.
    #[error("cannot start the monitor's thread: {0}")]
    Thread(#[source] std::io::Error),
}
