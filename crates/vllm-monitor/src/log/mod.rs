//! Significant lines of a server's log, and the phases of a start that they show.

mod patterns;
mod phase;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use patterns::{LogPatterns, Pattern};
pub use phase::LoadPhase;

use crate::Time;

/// A significant line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogMark {
    /// When it was read.
    pub at: Time,
    /// Id of the pattern.
    pub pattern: Arc<str>,
    /// What it means.
    pub means: Meaning,
    /// The number in it that the pattern points at, such as a duration in seconds.
    #[serde(default)]
    pub number: Option<f64>,
    /// The line, cut to [`LogMark::LONGEST`] bytes.
    pub line: Arc<str>,
}

impl LogMark {
    /// Bytes of a line that are kept.
    pub const LONGEST: usize = 240;
}

/// What a line of the log means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// A phase of loading began.
    Phase(LoadPhase),
    /// A phase of loading ended.
    Done(LoadPhase),
    /// The server listens.
    Started,
    /// An orderly shutdown began.
    Shutdown,
    /// A fatal error, with its cause.
    Fatal(Arc<str>),
    /// A warning.
    Warning(Arc<str>),
    /// A compilation began: the engine may be silent for a while.
    Compiling,
}
