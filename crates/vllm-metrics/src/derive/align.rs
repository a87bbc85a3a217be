//! Series that were not sampled together: usual interval, gaps, and sums over engines and endpoints.

/// A series as its times and values.
pub type Points<'a> = (&'a [i64], &'a [f64]);

/// Median distance of successive times in nanoseconds; `None` for fewer than two.
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

/// Longest distance between samples that still counts as uninterrupted: two and a half usual intervals, so that a
/// single late scrape is not a gap and a single missing one neither hides nor shows.
pub fn longest_step_ns(interval_ns: i64) -> i64 {
    interval_ns + interval_ns + interval_ns / 2
}

/// Stretches without samples: (last sample before, first sample after).
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

/// How values of several series at one moment become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// Add them: requests, tokens, rates.
    Sum,
    /// Average them: ratios.
    Mean,
}

/// One series out of several: at every time of any of them, the latest values of all combined.
///
/// A series counts until its latest value is older than [`longest_step_ns`] of its own interval, so an endpoint that
/// died leaves the sum. A time at which a series is just about to begin (first sample within one such step) is left
/// out: the sum over some would look like a dip. A value that is not a number counts as absent; where every one is,
/// so is the result.
pub fn combine(series: &[Points<'_>], how: Combine) -> (Vec<i64>, Vec<f64>) {
    if let [(times, values)] = series {
        return (times.to_vec(), values.to_vec());
    }
    let limits: Vec<i64> = series
        .iter()
        .map(|(times, _)| median_interval_ns(times).map_or(i64::MAX, longest_step_ns))
        .collect();
    let mut times: Vec<i64> = series
        .iter()
        .flat_map(|(times, _)| times.iter().copied())
        .collect();
    times.sort_unstable();
    times.dedup();
    let mut cursors = vec![0usize; series.len()];
    let mut out = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
    'times: for t in times {
        let (mut sum, mut present, mut unknown) = (0.0, 0u32, false);
        for (((at, values), cursor), limit) in series.iter().zip(&mut cursors).zip(&limits) {
            while at.get(*cursor).is_some_and(|&next| next <= t) {
                *cursor += 1;
            }
            match cursor.checked_sub(1) {
                Some(latest) if values[latest].is_nan() => unknown = true,
                Some(latest) if t.saturating_sub(at[latest]) <= *limit => {
                    sum += values[latest];
                    present += 1;
                }
                Some(_) => {}
                None if at.first().is_some_and(|first| first.saturating_sub(t) <= *limit) => continue 'times,
                None => {}
            }
        }
        if present > 0 {
            out.0.push(t);
            out.1.push(if how == Combine::Mean {
                sum / f64::from(present)
            } else {
                sum
            });
        } else if unknown {
            out.0.push(t);
            out.1.push(f64::NAN);
        }
    }
    out
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
        let (_, mean) = combine(&[(&long, &ones), (&[5, 15, 25], &[1.0; 3])], Combine::Mean);
        assert!(mean.iter().all(|v| *v == 1.0));
    }
}
