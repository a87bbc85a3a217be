//! What a run cost in energy: joules of a window, per output token and per request, and split into prefill and
//! decode. Pure functions over [`RunData`](run_model::RunData).
//!
//! Every figure says how it was measured, how often, and how wrong it can be:
//!
//! | `measurement_method` | from | taken when |
//! |---|---|---|
//! | `energy_counter` | `gpu_energy_joules_total` | the driver counts energy |
//! | `instant_power_integral` | `gpu_power_instant_watts` | it does not, but tells the power of the moment |
//! | `average_power_integral` | `gpu_power_watts` | else; NVIDIA's is a moving average of about a second on most boards |
//!
//! `error_joules` bounds what sampling can have got wrong: where in a step between two samples the window's end fell,
//! how the power moved between samples, and how far the sensor's average lags. The sensor itself may be off by
//! [`SENSOR_ERROR_RATIO`] on top; that is the same in every run on the same board, so comparisons need not fear it.
//! Windows shorter than [`SHORTEST_WINDOW`] are refused: no driver's power data carry that.
//!
//! Energy is that of the GPUs in the run, not of the host around them.

mod regression;
mod report;
mod split;
mod steps;
mod window;

use std::time::Duration;

pub use regression::{Coefficient, Fit, FitError, least_squares};
pub use report::{EnergyReport, Figure, report};
pub use split::{EnergySplit, SplitUnavailable, split};
pub use window::{EnergyUnavailable, GpuEnergy, Method, WindowEnergy, energy_between, measured_window};

/// NVIDIA's documentation allows its power readings this much error either way.
pub const SENSOR_ERROR_RATIO: f64 = 0.05;

/// The shortest window for which a figure is given.
pub const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
