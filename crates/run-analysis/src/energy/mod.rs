//! Energy of a run: joules of a window, per output token and per request, and split into prefill and decode.
//! Pure functions over [`RunData`](run_model::RunData).
//!
//! Every figure has its measurement method, sampling rate and error:
//!
//! | `measurement_method` | from | used when |
//! |---|---|---|
//! | `energy_counter` | `gpu_energy_joules_total` | the driver counts energy |
//! | `instant_power_integral` | `gpu_power_instant_watts` | it does not, but reports instantaneous power |
//! | `average_power_integral` | `gpu_power_watts` | otherwise; NVIDIA's is a moving average of about a second on most boards |
//!
//! `error_joules` bounds the sampling error: the position of the window's ends between two samples, changes
//! of power between samples, and the lag of the sensor's average. The sensor itself may be off by an
//! additional [`SENSOR_ERROR_RATIO`], which is the same in every run on the same board and so does not affect
//! comparisons. Windows shorter than [`SHORTEST_WINDOW`] are an error, because no driver's power data are
//! precise enough.
//!
//! Only the GPUs in the run are included, not the host.

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

/// Error of power readings by NVIDIA's documentation, in either direction.
pub const SENSOR_ERROR_RATIO: f64 = 0.05;

/// The shortest window for which a figure is given.
pub const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
