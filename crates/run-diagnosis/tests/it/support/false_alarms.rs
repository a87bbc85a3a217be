//! How often two equal runs are called different, for values that depend on those before.

use run_diagnosis::compare::{CompareOptions, Conclusion, Difference, quantile, two_samples};
use run_statistics::Estimate;

use super::{autoregression, random};

/// Shares of a number of repetitions, 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FalseAlarms {
    /// Welch's t test, which takes every value as independent.
    pub(crate) welch: f64,
    /// The interval of batch means leaves 0 out, whether or not there is enough for a decision.
    pub(crate) batch_means: f64,
    /// The same, and there is enough for a decision.
    pub(crate) decided_and_wrong: f64,
    /// There is enough for a decision.
    pub(crate) decided: f64,
    /// Called improved or regressed, so by at least 1 % as well.
    pub(crate) called_changed: f64,
}

/// Two samples of `n` values with correlation `phi` from one to the next; their logarithms have a deviation of 0.1.
pub(crate) fn false_alarms(phi: f64, n: usize, repetitions: u64) -> FalseAlarms {
    let mut rates = FalseAlarms::default();
    let one = 1.0 / repetitions as f64;
    let mut random = random(1000 * n as u64 + (100.0 * phi) as u64);
    for _ in 0..repetitions {
        let mut sample = || -> Vec<f64> {
            autoregression(&mut random, n, phi)
                .iter()
                .map(|x| (0.1 * x).exp())
                .collect()
        };
        let (base, other) = (sample(), sample());
        let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<f64>>();
        let independent =
            |values: &[f64]| Estimate::of_independent(&logs(values)).expect("two values or more");
        if independent(&other).minus(independent(&base)).p_value(0.0) < 0.05 {
            rates.welch += one;
        }
        let ratio = two_samples(&base, &other).expect("enough values");
        let half_width = ratio.estimate.half_width(0.95);
        let difference = Difference {
            log_ratio: ratio.estimate.value,
            half_width,
            family_half_width: half_width,
            effective_size: ratio.effective_size,
            lower_is_better: true,
        };
        let is_significant = ratio.estimate.p_value(0.0) < 0.05;
        if is_significant {
            rates.batch_means += one;
        }
        if difference.is_decidable(&CompareOptions::default()) {
            rates.decided += one;
            if is_significant {
                rates.decided_and_wrong += one;
            }
        }
        if matches!(
            difference.decide(&CompareOptions::default()).0,
            Conclusion::Improved | Conclusion::Regressed
        ) {
            rates.called_changed += one;
        }
    }
    rates
}

/// The share of false alarms of the p99 of two equal samples, and the mean half-width of its interval.
pub(crate) fn p99_false_alarms(phi: f64, n: usize, repetitions: u64) -> (f64, f64) {
    let (mut alarms, mut half_widths) = (0.0, 0.0);
    let mut random = random(77 + n as u64 + (100.0 * phi) as u64);
    for _ in 0..repetitions {
        let mut sample = || -> Vec<f64> {
            autoregression(&mut random, n, phi)
                .iter()
                .map(|x| (0.1 * x).exp())
                .collect()
        };
        let (base, other) = (sample(), sample());
        let ratio = quantile(&base, &other, 0.99, false).expect("sections of 100 values or more");
        if ratio.estimate.p_value(0.0) < 0.05 {
            alarms += 1.0;
        }
        half_widths += ratio.estimate.half_width(0.95);
    }
    (alarms / repetitions as f64, half_widths / repetitions as f64)
}
