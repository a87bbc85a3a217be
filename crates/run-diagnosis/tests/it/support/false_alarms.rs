//! How often two equal runs are called different, for values that depend on those before.

use run_diagnosis::compare::{CompareOptions, Evidence, Word, two_samples};
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
        let evidence = Evidence {
            log_ratio: ratio.estimate.value,
            half_width: ratio.estimate.half_width(0.95),
            effective_size: ratio.effective_size,
            is_significant: ratio.estimate.p_value(0.0) < 0.05,
            lower_is_better: true,
        };
        if evidence.is_significant {
            rates.batch_means += one;
        }
        if evidence.is_decidable() {
            rates.decided += one;
            if evidence.is_significant {
                rates.decided_and_wrong += one;
            }
        }
        if matches!(
            evidence.decide(&CompareOptions::default()).0,
            Word::Improved | Word::Regressed
        ) {
            rates.called_changed += one;
        }
    }
    rates
}
