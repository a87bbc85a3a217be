//! The ratio of two runs in one metric, with its interval.

use run_statistics::{
    BatchMeans, Estimate, batch_means, log_ratios, sectioned_quantile, sectioned_quantile_difference,
};
use serde::Serialize;

/// How a difference was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "method")]
pub enum Method {
    /// The same requests (or the same seconds of the schedule) in both runs, one by one.
    Paired {
        /// Pairs used.
        pairs: usize,
    },
    /// Two independent samples.
    TwoSamples {
        /// Values used of the base.
        base: usize,
        /// Values used of the other.
        other: usize,
    },
    /// Whole runs are the unit, in pairs.
    PairedRuns {
        /// Pairs.
        pairs: usize,
    },
    /// Whole runs are the unit, in two groups.
    Runs {
        /// Runs of the base.
        base: usize,
        /// Runs of the other.
        other: usize,
    },
}

/// ln(other / base) with its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogRatio {
    /// Value, error and degrees of freedom.
    pub estimate: Estimate,
    /// Independent values behind it, of the smaller side; absent where the unit is a whole run.
    pub effective_size: Option<f64>,
    /// How it was measured.
    pub method: Method,
}

/// The mean of ln(otherᵢ / baseᵢ) over pairs in issue order. `None` for fewer than 16 pairs, or a value that is not
/// finite and above 0.
///
/// Whatever the i-th request of both runs shares (its length, what arrived before it) cancels. The pairs still depend
/// on each other, so the error is that of batch means.
pub fn paired(base: &[f64], other: &[f64]) -> Option<LogRatio> {
    let means = batch_means(&log_ratios(base, other)?)?;
    Some(LogRatio {
        estimate: means.estimate,
        effective_size: Some(means.effective_size),
        method: Method::Paired { pairs: means.used },
    })
}

/// mean ln other − mean ln base of two independent series in time order. `None` for fewer than 16 values on a side, or
/// a value that is not finite and above 0.
pub fn two_samples(base: &[f64], other: &[f64]) -> Option<LogRatio> {
    let means = |values: &[f64]| -> Option<BatchMeans> {
        let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        batch_means(&logs)
    };
    let (base, other) = (means(base)?, means(other)?);
    Some(LogRatio {
        estimate: other.estimate.minus(base.estimate),
        effective_size: Some(base.effective_size.min(other.effective_size)),
        method: Method::TwoSamples {
            base: base.used,
            other: other.used,
        },
    })
}

/// ln of the ratio of a quantile. `None` where a section of a tenth of the values is too short for it.
pub fn quantile(base: &[f64], other: &[f64], q: f64, are_paired: bool) -> Option<LogRatio> {
    let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<f64>>();
    let (base, other) = (logs(base), logs(other));
    let (estimate, method) = if are_paired {
        let difference = sectioned_quantile_difference(&base, &other, q)?;
        (difference, Method::Paired { pairs: base.len() })
    } else {
        let difference = sectioned_quantile(&other, q)?.minus(sectioned_quantile(&base, q)?);
        let method = Method::TwoSamples {
            base: base.len(),
            other: other.len(),
        };
        (difference, method)
    };
    Some(LogRatio {
        estimate,
        effective_size: None,
        method,
    })
}

/// The ratio of one figure of several runs a side, the runs being the unit. Paired in the order given when both sides
/// have as many and were run in turn. `None` for fewer than two runs a side, or a figure that is not above 0.
pub fn of_runs(base: &[f64], other: &[f64], in_turn: bool) -> Option<LogRatio> {
    if in_turn && base.len() == other.len() {
        return Some(LogRatio {
            estimate: run_statistics::paired_log_ratio(base, other)?,
            effective_size: None,
            method: Method::PairedRuns { pairs: base.len() },
        });
    }
    let mean = |values: &[f64]| {
        let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        Estimate::of_independent(&logs)
    };
    Some(LogRatio {
        estimate: mean(other)?.minus(mean(base)?),
        effective_size: None,
        method: Method::Runs {
            base: base.len(),
            other: other.len(),
        },
    })
}
