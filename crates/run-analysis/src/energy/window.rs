//! Energy of one window, from the best source of each GPU.

use std::collections::BTreeMap;

use super::steps::{self, Inside, Step, median_step, seconds};
use super::{SENSOR_ERROR_RATIO, SHORTEST_WINDOW};
use crate::derive::exporters;
use run_model::labels;
use run_model::{RunData, SeriesData};

/// How energy was measured, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Difference of the driver's energy counter.
    EnergyCounter,
    /// Integral of instantaneous power.
    InstantPowerIntegral,
    /// Integral of a power averaged by the driver.
    AveragePowerIntegral,
}

impl Method {
    /// The value of `measurement_method`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EnergyCounter => "energy_counter",
            Self::InstantPowerIntegral => "instant_power_integral",
            Self::AveragePowerIntegral => "average_power_integral",
        }
    }
}

/// Energy of one GPU in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuEnergy {
    /// The GPU's `gpu` label, or its UUID if it has none.
    pub gpu: String,
    /// Energy, in joules.
    pub joules: f64,
    /// Bound of the sampling error in joules, in either direction.
    pub error_joules: f64,
    /// How it was measured.
    pub method: Method,
    /// Samples per second of the source.
    pub sampling_rate_hz: f64,
    /// Share of the window covered by data, 0 to 1. `joules` does not include the rest.
    pub covered_ratio: f64,
}

/// Energy of all GPUs in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowEnergy {
    /// Start of the window.
    pub from_ns: i64,
    /// End of the window.
    pub to_ns: i64,
    /// Each GPU.
    pub gpus: Vec<GpuEnergy>,
    /// True if any of the data are simulated.
    pub simulated: bool,
}

impl WindowEnergy {
    /// Energy of all GPUs, in joules.
    pub fn joules(&self) -> f64 {
        self.gpus.iter().map(|gpu| gpu.joules).sum()
    }

    /// Bound of all GPUs' sampling error, in joules: the sum, because their samples have the same times.
    pub fn error_joules(&self) -> f64 {
        self.gpus.iter().map(|gpu| gpu.error_joules).sum()
    }

    /// Possible error of the sensors themselves, in joules.
    pub fn sensor_error_joules(&self) -> f64 {
        self.joules() * SENSOR_ERROR_RATIO
    }

    /// Length of the window, in seconds.
    pub fn seconds(&self) -> f64 {
        seconds(self.to_ns - self.from_ns)
    }

    /// Mean power over the covered part of the window, in watts.
    pub fn mean_watts(&self) -> f64 {
        self.gpus
            .iter()
            .map(|gpu| gpu.joules / (gpu.covered_ratio * self.seconds()))
            .sum()
    }

    /// The least reliable method among the GPUs.
    pub fn method(&self) -> Option<Method> {
        self.gpus.iter().map(|gpu| gpu.method).max()
    }

    /// The lowest sampling rate among the GPUs.
    pub fn sampling_rate_hz(&self) -> f64 {
        self.gpus
            .iter()
            .map(|gpu| gpu.sampling_rate_hz)
            .fold(f64::INFINITY, f64::min)
    }

    /// The lowest coverage among the GPUs.
    pub fn covered_ratio(&self) -> f64 {
        self.gpus.iter().map(|gpu| gpu.covered_ratio).fold(1.0, f64::min)
    }
}

/// Why energy is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnergyUnavailable {
    /// No GPU reported energy or power.
    #[error("no GPU in this run reported its energy or power")]
    NoSource,
    /// Data exist, but not in this window.
    #[error("no energy or power sample is in the window")]
    NothingInWindow,
    /// The window is too short for power data.
    #[error("the window is shorter than a second, which no driver's power data can carry")]
    WindowTooShort,
    /// Nothing was answered, so there is no window.
    #[error("no request was answered")]
    NoRequests,
}

/// Returns the time from the first request issued to the last one answered.
///
/// # Errors
///
/// [`EnergyUnavailable::NoRequests`] if nothing was answered.
pub fn measured_window(run: &RunData) -> Result<(i64, i64), EnergyUnavailable> {
    let from = run.requests.iter().map(|request| request.issued_ns).min();
    let to = run.requests.iter().filter_map(|request| request.done_ns).max();
    from.zip(to).ok_or(EnergyUnavailable::NoRequests)
}

/// Computes the energy of all GPUs between two times.
///
/// # Errors
///
/// If no GPU has data in the window, or the window is too short for any.
pub fn energy_between(run: &RunData, from_ns: i64, to_ns: i64) -> Result<WindowEnergy, EnergyUnavailable> {
    if u128::try_from(to_ns - from_ns).unwrap_or(0) < SHORTEST_WINDOW.as_nanos() {
        return Err(EnergyUnavailable::WindowTooShort);
    }
    let sources = sources(run);
    if sources.is_empty() {
        return Err(EnergyUnavailable::NoSource);
    }
    let simulated = run.manifest.simulated || sources.iter().any(|source| source.simulated);
    let gpus: Vec<_> = sources
        .iter()
        .filter_map(|source| source.energy(from_ns, to_ns))
        .collect();
    if gpus.is_empty() {
        return Err(EnergyUnavailable::NothingInWindow);
    }
    Ok(WindowEnergy {
        from_ns,
        to_ns,
        gpus,
        simulated,
    })
}

/// The best source of one GPU.
pub(super) struct Source {
    gpu: String,
    pub(super) method: Method,
    pub(super) steps: Vec<Step>,
    rate_hz: f64,
    /// Maximum lag of a reading.
    lag_ns: i64,
    pub(super) simulated: bool,
}

/// Power is a moving average of about a second since Ampere (driver documentation).
const AVERAGING_NS: i64 = 1_000_000_000;

/// The best source of each GPU that has one.
pub(super) fn sources(run: &RunData) -> Vec<Source> {
    let mapped = exporters::mapped(run);
    let mut best: BTreeMap<String, Source> = BTreeMap::new();
    for series in run.series.iter().chain(&mapped) {
        let method = match &*series.def.metric_name {
            "gpu_energy_joules_total" => Method::EnergyCounter,
            "gpu_power_instant_watts" => Method::InstantPowerIntegral,
            "gpu_power_watts" => Method::AveragePowerIntegral,
            _ => continue,
        };
        let labels = labels::parse(&series.def.labels);
        let Some(gpu) = labels.get("gpu").or(labels.get("uuid")) else {
            continue;
        };
        // The same index on two hosts means two GPUs; the UUID, if any, distinguishes them.
        let key = labels.get("uuid").unwrap_or(gpu).clone() + &series.def.endpoint_url;
        let Some(source) = Source::of(series, method, gpu) else {
            continue;
        };
        if best.get(&key).is_none_or(|held| source.method < held.method) {
            best.insert(key, source);
        }
    }
    best.into_values().collect()
}

impl Source {
    fn of(series: &SeriesData, method: Method, gpu: &str) -> Option<Self> {
        let steps = match method {
            Method::EnergyCounter => steps::of_counter(&series.timestamps_ns, &series.values),
            _ => steps::of_power(&series.timestamps_ns, &series.values),
        };
        // If the counter never moves, the board does not support it.
        if steps.is_empty()
            || (method == Method::EnergyCounter && steps.iter().all(|step| step.amount == 0.0))
        {
            return None;
        }
        let lag_ns = match method {
            Method::EnergyCounter => update_period_ns(&steps),
            Method::InstantPowerIntegral => 0,
            Method::AveragePowerIntegral => AVERAGING_NS,
        };
        let rate_hz = median_step(&series.timestamps_ns).map_or(0.0, |step| 1.0 / seconds(step));
        let simulated = series.def.source.ends_with("-simulated");
        Some(Self {
            gpu: gpu.to_owned(),
            method,
            steps,
            rate_hz,
            lag_ns,
            simulated,
        })
    }

    fn energy(&self, from_ns: i64, to_ns: i64) -> Option<GpuEnergy> {
        let Inside {
            amount,
            error,
            covered_ns,
        } = steps::inside(&self.steps, from_ns, to_ns);
        if covered_ns == 0 {
            return None;
        }
        Some(GpuEnergy {
            gpu: self.gpu.clone(),
            joules: amount,
            error_joules: error + self.lag_error(from_ns) + self.lag_error(to_ns),
            method: self.method,
            sampling_rate_hz: self.rate_hz,
            covered_ratio: covered_ns as f64 / (to_ns - from_ns) as f64,
        })
    }

    /// A lagging reading moves energy across the window's end: at most the lag times the range of the power
    /// around that time.
    fn lag_error(&self, at_ns: i64) -> f64 {
        if self.lag_ns == 0 {
            return 0.0;
        }
        let around = self.steps.iter().filter(|step| {
            step.to_ns > at_ns.saturating_sub(2 * self.lag_ns)
                && step.from_ns < at_ns.saturating_add(self.lag_ns)
        });
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for step in around {
            let watts = step.amount / seconds(step.to_ns - step.from_ns);
            (low, high) = (low.min(watts), high.max(watts));
        }
        if high > low {
            (high - low) * seconds(self.lag_ns)
        } else {
            0.0
        }
    }
}

/// Longest period without change of a counter; 0 if it changed at every reading.
fn update_period_ns(steps: &[Step]) -> i64 {
    let mut longest = 0;
    let mut still_since: Option<i64> = None;
    for step in steps {
        if step.amount == 0.0 {
            let since = *still_since.get_or_insert(step.from_ns);
            longest = longest.max(step.to_ns - since);
        } else {
            still_since = None;
        }
    }
    longest
}
