//! Statistics on slices of numbers, for runs of a server: values that follow each other in time and depend on those
//! before.
//!
//! ```
//! use run_statistics::{batch_means, correlation_time};
//!
//! // Request latencies of a run, in milliseconds, slowly swinging around 10.
//! let latencies_ms: Vec<f64> = (0..640).map(|i| 10.0 + (f64::from(i) / 5.0).sin() + f64::from(i % 7) / 10.0).collect();
//! let mean = batch_means(&latencies_ms).expect("640 values are enough");
//! let (low, high) = mean.estimate.interval(0.95);
//! assert!(low < mean.estimate.value && mean.estimate.value < high);
//! assert!(correlation_time(&latencies_ms).unwrap() > 2.0);
//! ```
//!
//! Everything is deterministic: no clock, no I/O, no random numbers except in [`group_bootstrap`], which takes a seed.
//! Each function names its definition and source. A figure that the values do not determine is `None`, never 0.
//!
//! | question | here |
//! |---|---|
//! | How well is this mean known? | [`batch_means`], [`Estimate`], [`correlation_time`], [`von_neumann_ratio`] |
//! | Which value do 99 % stay below? | [`percentile`], [`sectioned_quantile`], [`GaugeOverTime`] |
//! | Do two runs differ? | [`paired_log_ratio`], [`Estimate::minus`], [`kolmogorov_smirnov`], [`holm`], [`benjamini_hochberg`] |
//! | Where does the start-up end, did the level move? | [`mser5`], [`pettitt`], [`mann_kendall`], [`sen_slope`], [`change_points`] |
//! | What explains it? | [`least_squares`], [`RecursiveLeastSquares`] |
//! | Did it just change? When will it reach its limit? | [`Cusum`], [`PageHinkley`], [`FirstPassage`] |
//! | Are stated probabilities right? | [`brier`], [`expected_calibration_error`], [`Isotonic`], [`group_bootstrap`] |
//!
//! Not here: sketches of streams too large to keep, distributions beyond the normal and Student's t, matrices of more
//! than a few columns.

mod autocorrelation;
mod batch_means;
mod bootstrap;
mod change_points;
mod cholesky;
mod cusum;
mod estimate;
mod first_passage;
mod gauge;
mod isotonic;
mod kolmogorov;
mod least_squares;
mod moments;
mod mser;
mod multiple;
pub mod normal;
pub mod percentile;
mod recursive;
mod scores;
mod sectioning;
mod shift;
pub mod student;
mod trend;

pub use autocorrelation::{autocorrelation, correlation_time, von_neumann_ratio, von_neumann_z};
pub use batch_means::{BatchMeans, batch_means, means_of_batches};
pub use bootstrap::{BootstrapInterval, group_bootstrap};
pub use change_points::{ChangePoint, change_points};
pub use cholesky::Cholesky;
pub use cusum::{Cusum, Direction, PageHinkley};
pub use estimate::{Estimate, log_ratios, paired_log_ratio};
pub use first_passage::FirstPassage;
pub use gauge::GaugeOverTime;
pub use isotonic::Isotonic;
pub use kolmogorov::{KolmogorovSmirnov, kolmogorov_smirnov};
pub use least_squares::{FitError, LinearFit, least_squares};
pub use moments::{covariance, mean, standard_deviation, variance};
pub use mser::{MSER_BATCH, mser_cut, mser5};
pub use multiple::{benjamini_hochberg, holm};
pub use recursive::RecursiveLeastSquares;
pub use scores::{Brier, CalibrationBin, brier, calibration_bins, expected_calibration_error};
pub use sectioning::{SECTIONS, sectioned_quantile, sectioned_quantile_difference};
pub use shift::{LevelShift, pettitt};
pub use trend::{MannKendall, mann_kendall, sen_slope};
