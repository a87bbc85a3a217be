//! Aligns series sampled at different times: usual interval, gaps, sums over engines and endpoints.

/// Times and values of a series.
pub type Points<'a> = (&'a [i64], &'a [f64]);

/// Median time between successive samples in nanoseconds; `None` for fewer than two.
pub fn median_interval_ns(timestamps_ns: &[i64]) -> Option<i64> {
    let mut distances: Vec<i64> = timestamps_ns
        .windows(2)
        .map(|w| w[1] - w[0])
        .filter(|d| *d > 0)
        .collect();
    if distances.is_empty() {
        return None;
    }
    let middle = distances.len() / 2;
    Some(*distances.select_nth_unstable(middle).1)
}

/// Longest time between samples that is not a gap: two and a half usual intervals, so that one late or one
/// missing scrape is not a gap.
pub fn longest_step_ns(interval_ns: i64) -> i64 {
    interval_ns + interval_ns + interval_ns / 2
}

/// Gaps: (last sample before, first sample after).
pub fn gaps(timestamps_ns: &[i64]) -> Vec<(i64, i64)> {
    let Some(interval) = median_interval_ns(timestamps_ns) else {
        return Vec::new();
    };
    let limit = longest_step_ns(interval);
    timestamps_ns
        .windows(2)
        .filter(|w| w[1] - w[0] > limit)
        .map(|w| (w[0], w[1]))
        .collect()
}

/// How simultaneous values of several series combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// Added: requests, tokens, rates.
    Sum,
    /// Averaged: ratios.
    Mean,
}

/// Combines several series into one, with a value at every time of any of them. The times of each series ascend, in
/// nanoseconds, and there is one value for each; the result is times and values in the same form. One series alone is
/// returned unchanged.
///
/// Each series is linearly interpolated between its own samples, so that the result has no steps caused by
/// different sampling times. A series has no known value inside a gap (longer than [`longest_step_ns`] of its
/// own interval) or where it is not a number. There the result is `NaN`, because the sum of the others is not
/// the sum of all.
///
/// Before its first sample and after its last one (which is held for one such step), a series adds nothing to
/// a sum. A mean is `NaN` unless every series has a value, so that it does not jump when one is absent.
/// Times before the first sample of a series, by at most one such step, are left out.
pub fn combine(series: &[Points<'_>], how: Combine) -> (Vec<i64>, Vec<f64>) {
    if let [(times, values)] = series {
        return (times.to_vec(), values.to_vec());
    }
    let limits = limits(series);
    let times = union(series);
    let mut cursors = vec![0usize; series.len()];
    let mut out = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
    'times: for t in times {
        let (mut sum, mut present, mut unknown) = (0.0, 0u32, false);
        for ((points, cursor), limit) in series.iter().zip(&mut cursors).zip(&limits) {
            match value_at(points, cursor, *limit, t) {
                At::Known(value) => {
                    sum += value;
                    present += 1;
                }
                At::Unknown => unknown = true,
                At::AboutToBegin => continue 'times,
                At::Outside => unknown |= how == Combine::Mean,
            }
        }
        let value = match (unknown, present, how) {
            (true, ..) => f64::NAN,
            (false, 0, _) => continue,
            (false, n, Combine::Mean) => sum / f64::from(n),
            (false, _, Combine::Sum) => sum,
        };
        out.0.push(t);
        out.1.push(value);
    }
    out
}

/// The longest step of any of these series.
pub fn longest_step_of(series: &[Points<'_>]) -> i64 {
    limits(series).into_iter().max().unwrap_or(i64::MAX)
}

/// Longest step of each series; one with too few samples for an interval gets the longest of the others.
pub(super) fn limits(series: &[Points<'_>]) -> Vec<i64> {
    let own = || {
        series
            .iter()
            .map(|(times, _)| median_interval_ns(times).map(longest_step_ns))
    };
    let longest = own().flatten().max().unwrap_or(i64::MAX);
    own().map(|limit| limit.unwrap_or(longest)).collect()
}

/// Distinct times of all series, ascending.
pub(super) fn union(series: &[Points<'_>]) -> Vec<i64> {
    let mut times: Vec<i64> = series
        .iter()
        .flat_map(|(times, _)| times.iter().copied())
        .collect();
    times.sort_unstable();
    times.dedup();
    times
}

/// Value of a series at a time.
enum At {
    Known(f64),
    /// Inside a gap, or not a number.
    Unknown,
    /// Before its first sample, by at most one step.
    AboutToBegin,
    /// Before its first sample or after its last.
    Outside,
}

/// Value at `t`; the cursor only moves forward.
fn value_at((times, values): &Points<'_>, cursor: &mut usize, limit: i64, t: i64) -> At {
    while times.get(*cursor).is_some_and(|&next| next <= t) {
        *cursor += 1;
    }
    let known = |value: f64| {
        if value.is_nan() {
            At::Unknown
        } else {
            At::Known(value)
        }
    };
    let Some(before) = cursor.checked_sub(1) else {
        return match times.first() {
            Some(first) if first.saturating_sub(t) <= limit => At::AboutToBegin,
            _ => At::Outside,
        };
    };
    let since = t - times[before];
    match times.get(*cursor) {
        _ if since == 0 => known(values[before]),
        Some(&next) if next - times[before] <= limit => {
            let share = since as f64 / (next - times[before]) as f64;
            let (from, to) = (values[before], values[*cursor]);
            known(from + (to - from) * share)
        }
        Some(_) => At::Unknown,
        None if since <= limit => known(values[before]),
        None => At::Outside,
    }
}

/// Seconds that each sample of a gauge represents: half the time to each neighbour, excluding gaps. A mean
/// with these weights is the area under the line through the samples, divided by the time covered.
///
/// A distance longer than `limit` is a gap. Use [`longest_step_of`] the original series, since samples of
/// several series together are closer than those of each. An isolated sample has no time; if all are
/// isolated, they have equal weights.
pub fn held_secs(timestamps_ns: &[i64], limit: i64) -> Vec<f64> {
    let mut weights = vec![0.0; timestamps_ns.len()];
    for (i, pair) in timestamps_ns.windows(2).enumerate() {
        let distance = pair[1] - pair[0];
        if distance <= limit {
            let half = distance as f64 / 2e9;
            weights[i] += half;
            weights[i + 1] += half;
        }
    }
    if weights.iter().all(|w| *w == 0.0) {
        weights.fill(1.0);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_more_than_two_and_a_half_intervals() {
        let times = [0, 10, 20, 30, 54, 64, 100, 110];
        assert_eq!(median_interval_ns(&times), Some(10));
        assert_eq!(gaps(&times), vec![(64, 100)]);
    }

    #[test]
    fn same_times_simply_add() {
        let t = [0, 10, 20];
        let (times, values) = combine(&[(&t, &[1.0, 2.0, 3.0]), (&t, &[10.0, 20.0, 30.0])], Combine::Sum);
        assert_eq!(times, t);
        assert_eq!(values, [11.0, 22.0, 33.0]);
    }

    #[test]
    fn an_endpoint_that_died_leaves_the_sum_and_a_late_start_makes_no_dip() {
        let long: Vec<i64> = (0..10).map(|i| i * 10).collect();
        let ones = [1.0; 10];
        let (times, values) = combine(&[(&long, &ones), (&[5, 15, 25], &[1.0; 3])], Combine::Sum);
        assert_eq!(times.first(), Some(&5));
        assert_eq!(values.first(), Some(&2.0));
        assert_eq!(values.last(), Some(&1.0));
    }

    #[test]
    fn a_mean_does_not_jump_when_one_is_absent() {
        let all: Vec<i64> = (0..10).map(|i| i * 10).collect();
        let with_gap: Vec<i64> = all.iter().copied().filter(|t| !(30..70).contains(t)).collect();
        let (low, high) = (vec![0.2; 10], vec![0.6; 6]);
        let (times, mean) = combine(&[(&all, &low), (&with_gap, &high)], Combine::Mean);
        assert_eq!(times, all);
        for (t, value) in times.iter().zip(&mean) {
            let absent = (30..70).contains(t);
            assert!(
                if absent {
                    value.is_nan()
                } else {
                    (value - 0.4).abs() < 1e-12
                },
                "{t}: {value}"
            );
        }
        let (_, sum) = combine(&[(&all, &low), (&with_gap, &high)], Combine::Sum);
        assert!(sum[4].is_nan() && (sum[8] - 0.8).abs() < 1e-12);
    }

    #[test]
    fn series_sampled_at_different_moments_add_up_without_steps() {
        let a: Vec<i64> = (0..20).map(|i| i * 10).collect();
        let b: Vec<i64> = a.iter().map(|t| t + 4).collect();
        let line = |times: &[i64]| times.iter().map(|t| *t as f64).collect::<Vec<f64>>();
        let (times, sum) = combine(&[(&a, &line(&a)), (&b, &line(&b))], Combine::Sum);
        for (t, value) in times.iter().zip(&sum).filter(|(t, _)| **t <= 190) {
            assert!((value - 2.0 * *t as f64).abs() < 1e-9, "{t}: {value}");
        }
    }

    #[test]
    fn samples_weigh_the_time_they_stand_for() {
        const S: i64 = 1_000_000_000;
        // Three scrapes within ten milliseconds at the start, then one per second, and a gap.
        let times = [0, S / 200, S / 100, S, 2 * S, 3 * S, 4 * S, 14 * S, 15 * S];
        let weights = held_secs(&times, longest_step_of(&[(&times, &[])]));
        let close = |got: f64, wanted: f64| (got - wanted).abs() < 1e-9;
        assert!(close(weights[0], 0.0025) && close(weights[4], 1.0), "{weights:?}");
        assert!(close(weights[6], 0.5) && close(weights[7], 0.5), "{weights:?}");
        assert!(close(weights.iter().sum(), 5.0));
        assert_eq!(held_secs(&[7], i64::MAX), [1.0]);
    }
}
