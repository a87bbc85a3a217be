//! Counters: increase and rate per series, knowing resets. The first sample is a baseline and yields nothing.

use std::sync::Arc;

use super::series::{Builder, phase_at};
use crate::model::SeriesData;

/// What one counter did between two of its samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Index of the later sample.
    pub index: usize,
    /// Time of the earlier sample.
    pub start_ns: i64,
    /// Time of the later sample.
    pub end_ns: i64,
    /// How much the counter rose. After a reset: what it has counted since its restart, the least it can have been.
    pub increase: f64,
    /// The counter fell in between.
    pub reset: bool,
}

impl Step {
    /// Increase per second; `None` for samples at the same time.
    pub fn per_second(&self) -> Option<f64> {
        let nanos = self.end_ns - self.start_ns;
        (nanos > 0).then(|| self.increase / (nanos as f64 * 1e-9))
    }
}

/// The steps between successive finite samples. Samples that are not finite are passed over.
pub fn steps(timestamps_ns: &[i64], values: &[f64]) -> Vec<Step> {
    let mut out = Vec::with_capacity(values.len().saturating_sub(1));
    let mut before: Option<(i64, f64)> = None;
    for (index, (&end_ns, &value)) in timestamps_ns.iter().zip(values).enumerate() {
        if !value.is_finite() {
            continue;
        }
        if let Some((start_ns, earlier)) = before {
            let reset = value < earlier;
            let increase = if reset { value.max(0.0) } else { value - earlier };
            out.push(Step {
                index,
                start_ns,
                end_ns,
                increase,
                reset,
            });
        }
        before = Some((end_ns, value));
    }
    out
}

/// Adds `X_increase` and `X_per_second` of one counter.
pub fn append(series: &SeriesData, steps: &[Step], out: &mut Vec<SeriesData>) {
    let def = &series.def;
    let unit = &*def.unit;
    let per_second = if unit.is_empty() {
        "per_second".to_owned()
    } else {
        format!("{unit}/second")
    };
    let name = &def.metric_name;
    let mut increase = Builder::gauge(&format!("{name}_increase"), Arc::clone(&def.labels), unit, def);
    let mut rate = Builder::gauge(
        &format!("{name}_per_second"),
        Arc::clone(&def.labels),
        &per_second,
        def,
    );
    for step in steps {
        let phase = phase_at(series, step.index);
        increase.push(step.end_ns, step.increase, &phase);
        if let Some(value) = step.per_second() {
            rate.push(step.end_ns, value, &phase);
        }
    }
    out.push(increase.finish());
    out.push(rate.finish());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sample_is_a_baseline() {
        assert!(steps(&[5], &[1e9]).is_empty());
        let got = steps(&[0, 2_000_000_000], &[1000.0, 1010.0]);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].increase, 10.0);
        assert_eq!(got[0].per_second(), Some(5.0));
    }

    #[test]
    fn increases_sum_to_last_minus_first_also_over_a_reset() {
        let values = [100.0, 150.0, 150.0, 20.0, 60.0];
        let times: Vec<i64> = (0..5).map(|i| i * 1_000_000_000).collect();
        let got = steps(&times, &values);
        let total: f64 = got.iter().map(|s| s.increase).sum();
        assert_eq!(total, (150.0 - 100.0) + 60.0);
        assert_eq!(got.iter().filter(|s| s.reset).count(), 1);
        assert!(got[2].reset);
    }

    #[test]
    fn not_a_number_is_passed_over_and_same_time_has_no_rate() {
        let got = steps(&[0, 1, 1], &[1.0, f64::NAN, 4.0]);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].start_ns, got[0].increase), (0, 3.0));
        let same = steps(&[7, 7], &[1.0, 2.0]);
        assert_eq!(same[0].per_second(), None);
    }
}
