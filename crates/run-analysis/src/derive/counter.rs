//! Counters: increase and rate per series, handling resets. The first sample is a baseline.

use std::sync::Arc;

use super::align::{self, Points};
use super::series::{Builder, phase_at};
use run_model::SeriesData;
use run_model::saw_tooth::alternates;

/// The change of one counter between two of its samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Index of the later sample.
    pub index: usize,
    /// Time of the earlier sample.
    pub start_ns: i64,
    /// Time of the later sample.
    pub end_ns: i64,
    /// Increase of the counter. After a reset: its count since the restart, a lower bound.
    pub increase: f64,
    /// Whether the counter decreased in between.
    pub reset: bool,
}

impl Step {
    /// Length in seconds.
    pub fn secs(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e9
    }

    /// Increase per second; `None` for samples at the same time.
    pub fn per_second(&self) -> Option<f64> {
        let nanos = self.end_ns - self.start_ns;
        (nanos > 0).then(|| self.increase / (nanos as f64 * 1e-9))
    }
}

/// Returns the steps between successive finite samples, skipping others.
///
/// There are none if the counter alternates between the levels of several processes.
pub fn steps(timestamps_ns: &[i64], values: &[f64]) -> Vec<Step> {
    if alternates(values) {
        return Vec::new();
    }
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

/// Adds up the steps of several counters: between the samples of any of them, their total increase.
///
/// Between two of its own samples a counter is assumed to increase evenly, so that counters sampled at
/// different times can be added. A gap of one of them becomes a single step. The increases sum to the total
/// of all counters; [`Step::index`] is the number of the step.
pub fn sum_steps(series: &[Points<'_>]) -> Vec<Step> {
    if let [(times, values)] = series {
        return steps(times, values);
    }
    let rises: Vec<(Vec<i64>, Vec<f64>, Vec<Step>)> = series
        .iter()
        .map(|(times, values)| {
            let steps = steps(times, values);
            let mut total = 0.0;
            let first = steps.first().map(|s| (s.start_ns, 0.0));
            let (at, risen) = first
                .into_iter()
                .chain(steps.iter().map(|s| {
                    total += s.increase;
                    (s.end_ns, total)
                }))
                .unzip();
            (at, risen, steps)
        })
        .collect();
    let points: Vec<Points<'_>> = rises.iter().map(|(at, risen, _)| (&at[..], &risen[..])).collect();
    let mut times = align::union(&points);
    for ((at, ..), limit) in rises.iter().zip(align::limits(&points)) {
        for gap in at.windows(2).filter(|w| w[1] - w[0] > limit) {
            times.retain(|t| *t <= gap[0] || *t >= gap[1]);
        }
    }
    let mut resets: Vec<i64> = rises
        .iter()
        .flat_map(|(.., steps)| steps.iter().filter(|s| s.reset).map(|s| s.end_ns))
        .collect();
    resets.sort_unstable();
    let mut cursors = vec![0; points.len()];
    let mut together = |t: i64| -> f64 {
        points
            .iter()
            .zip(&mut cursors)
            .map(|(points, cursor)| risen_at(points, cursor, t))
            .sum()
    };
    let mut before = None;
    let mut out: Vec<Step> = Vec::with_capacity(times.len());
    for t in times {
        let total = together(t);
        if let Some((start_ns, earlier)) = before.replace((t, total)) {
            let after = resets.partition_point(|at| *at <= start_ns);
            out.push(Step {
                index: out.len(),
                start_ns,
                end_ns: t,
                increase: total - earlier,
                reset: resets.get(after).is_some_and(|at| *at <= t),
            });
        }
    }
    out
}

/// Increase of a counter up to `t`; the cursor only moves forward.
fn risen_at((times, risen): &Points<'_>, cursor: &mut usize, t: i64) -> f64 {
    while times.get(*cursor).is_some_and(|&next| next <= t) {
        *cursor += 1;
    }
    match (cursor.checked_sub(1), times.get(*cursor)) {
        (None, _) => 0.0,
        (Some(last), None) => risen[last],
        (Some(before), Some(next)) => {
            let share = (t - times[before]) as f64 / (next - times[before]) as f64;
            risen[before] + (risen[*cursor] - risen[before]) * share
        }
    }
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
    fn counters_of_several_processes_have_no_increase() {
        let values = [1000.0, 210.0, 1020.0, 230.0, 1040.0, 250.0, 1060.0];
        let times: Vec<i64> = (0..7).map(|i| i * 1_000_000_000).collect();
        assert_eq!(steps(&times, &values), []);
        assert_eq!(sum_steps(&[(&times, &values), (&times, &values)]), []);
        assert_eq!(steps(&times[..3], &values[..3]).len(), 2, "a restart so far");
    }

    #[test]
    fn not_a_number_is_passed_over_and_same_time_has_no_rate() {
        let got = steps(&[0, 1, 1], &[1.0, f64::NAN, 4.0]);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].start_ns, got[0].increase), (0, 3.0));
        let same = steps(&[7, 7], &[1.0, 2.0]);
        assert_eq!(same[0].per_second(), None);
    }

    #[test]
    fn counters_sampled_at_different_moments_add_up_to_what_they_rose() {
        const S: i64 = 1_000_000_000;
        let a: Vec<i64> = (0..10).map(|i| i * S).collect();
        // Half a second later, with a gap from 2.5 s to 7.5 s.
        let b: Vec<i64> = [0, 1, 2, 7, 8].map(|i| i * S + S / 2).to_vec();
        let rising = |times: &[i64]| {
            times
                .iter()
                .map(|t| *t as f64 / S as f64 * 10.0)
                .collect::<Vec<f64>>()
        };
        let steps = sum_steps(&[(&a, &rising(&a)), (&b, &rising(&b))]);
        let total: f64 = steps.iter().map(|s| s.increase).sum();
        assert!((total - (90.0 + 80.0)).abs() < 1e-9, "{total}");
        assert!(
            steps
                .iter()
                .any(|s| (s.start_ns, s.end_ns) == (5 * S / 2, 15 * S / 2)),
            "{steps:?}"
        );
        let usual = steps
            .iter()
            .filter(|s| s.start_ns >= S / 2 && s.end_ns <= 5 * S / 2);
        assert!(usual.clone().count() == 4 && usual.clone().all(|s| (s.increase - 10.0).abs() < 1e-9));
    }
}
