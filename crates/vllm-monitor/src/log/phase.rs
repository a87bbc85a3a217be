//! The phases of a start.

use serde::{Deserialize, Serialize};

/// A phase of a start, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadPhase {
    /// The process exists and has logged nothing.
    Launch,
    /// The engine is being configured.
    EngineInit,
    /// Weights are read.
    LoadWeights,
    /// Weights are in memory and are being processed.
    PrepareModel,
    /// Kernels are compiled.
    Compile,
    /// Memory is profiled and the KV cache is made.
    KvCache,
    /// Graphs are captured.
    CaptureGraphs,
    /// The HTTP server starts.
    StartServer,
}

impl LoadPhase {
    /// All phases, in order.
    pub const ALL: [Self; 8] = [
        Self::Launch,
        Self::EngineInit,
        Self::LoadWeights,
        Self::PrepareModel,
        Self::Compile,
        Self::KvCache,
        Self::CaptureGraphs,
        Self::StartServer,
    ];

    /// The word used in data files and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::EngineInit => "engine_init",
            Self::LoadWeights => "load_weights",
            Self::PrepareModel => "prepare_model",
            Self::Compile => "compile",
            Self::KvCache => "kv_cache",
            Self::CaptureGraphs => "capture_graphs",
            Self::StartServer => "start_server",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }

    /// Whether the model is being loaded in it, in the wide sense.
    pub fn is_loading(self) -> bool {
        self >= Self::LoadWeights
    }
}
