//! One predictor per file. Each takes the same [`Observation`], keeps constant-size state, and returns a forecast, what
//! it needs to make one, or why a prediction does not apply.
//!
//! Limits: a spike of device memory inside the engine, an XID and the death of a process have no precursor that is
//! visible from outside. They are reported when they happen; their forecasts are base rates.

mod activity;
pub mod calibrate;
mod curve;
mod degradation;
mod errors;
mod fluctuation;
mod gpu_memory;
mod hang;
mod hardware;
mod host_memory;
mod kv;
mod network;
pub mod onset;
mod passage;
mod peers;
mod queue;
mod rate;
pub mod score;

use std::borrow::Cow;

pub use degradation::Degradation;
pub use errors::RequestErrors;
pub use gpu_memory::GpuMemory;
pub use hang::Hang;
pub use hardware::Hardware;
pub use host_memory::HostMemory;
pub use kv::KvPreemption;
pub use network::Network;
pub use peers::{PeerTable, Straggler};
pub use queue::QueueOverflow;

use serde::{Deserialize, Serialize};

use crate::Evidence;
use crate::config::Parameters;
use crate::forecast::{Assessment, Basis, FailureType, Forecast, Horizons, Prediction, TimeToFailure};
use crate::lifecycle::{SideStates, State};
use crate::rates::Rates;
use crate::snapshot::Snapshot;

/// What a predictor looks at.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// Seconds since the snapshot before, or 0 after a gap that was not observed.
    pub dt_secs: f64,
    /// Rates between the newest two pages.
    pub rates: &'a Rates,
    /// The state as of the snapshot before.
    pub state: State,
    /// Pauses, sleep, scaling, compilation.
    pub side: SideStates,
    /// The parameters.
    pub parameters: &'a Parameters,
    /// Version of parameters and tables.
    pub model_version: &'a Cow<'static, str>,
}

impl Observation<'_> {
    /// Why predictions about serving do not apply now; `None` if they do.
    pub fn suspended(&self) -> Option<&'static str> {
        if let Some(reason) = self.side.reason() {
            return Some(reason);
        }
        match self.state {
            State::NotStarted => Some("there is no server"),
            State::Initializing | State::LoadingModel => Some("the server is starting"),
            State::ShuttingDown => Some("the server is shutting down"),
            State::Ready | State::Serving | State::Degraded | State::Error => None,
        }
    }

    /// A forecast on this basis.
    pub fn forecast(
        &self,
        failure_type: FailureType,
        probability: Horizons,
        time_to_failure: Option<TimeToFailure>,
        evidence: Vec<Evidence>,
        (samples, observed_secs): (u64, f64),
    ) -> Prediction {
        Prediction::Forecast(Forecast {
            failure_type,
            probability,
            time_to_failure,
            evidence,
            basis: Basis {
                samples,
                observed_secs,
                model_version: self.model_version.clone(),
                calibrated: false,
            },
        })
    }
}

/// Predicts one type of failure.
pub trait Predictor {
    /// What it predicts.
    fn failure_type(&self) -> FailureType;

    /// Takes the next snapshot, in order of time.
    fn observe(&mut self, seen: &Observation<'_>) -> Assessment;
}

/// All predictors of one target. What they learned is saved; recent observations are not.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Predictors {
    /// KV preemption.
    #[serde(skip)]
    pub kv: KvPreemption,
    /// Queue overflow.
    pub queue: QueueOverflow,
    /// Degradation at equal load.
    pub degradation: Degradation,
    /// Hang.
    pub hang: Hang,
    /// Device memory.
    pub gpu_memory: GpuMemory,
    /// Host memory.
    #[serde(skip)]
    pub host_memory: HostMemory,
    /// GPUs.
    pub hardware: Hardware,
    /// The network.
    pub network: Network,
    /// Comparison with peers.
    #[serde(skip)]
    pub straggler: Straggler,
    /// Requests that fail.
    #[serde(skip)]
    pub errors: RequestErrors,
}

impl Predictors {
    /// Each of them, in the order of [`FailureType`].
    pub fn each(&mut self) -> [&mut dyn Predictor; 10] {
        [
            &mut self.kv,
            &mut self.queue,
            &mut self.degradation,
            &mut self.hang,
            &mut self.gpu_memory,
            &mut self.host_memory,
            &mut self.hardware,
            &mut self.network,
            &mut self.straggler,
            &mut self.errors,
        ]
    }
}
