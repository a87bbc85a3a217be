//! Fewer points where a record is too long for a page: per 1/2,000 of the run the smallest, the largest and the last.

use crate::model::HistogramColumn;

/// Windows per run.
pub(crate) const WINDOWS: i64 = 2_000;

/// Consecutive ticks of one axis that become one window. Windows of up to three ticks keep them all.
pub(crate) fn windows(times_ns: &[i64], start_ns: i64, end_ns: i64) -> Vec<std::ops::Range<usize>> {
    let span = i128::from((end_ns - start_ns).max(1));
    let window = |ns: i64| i128::from(ns - start_ns) * i128::from(WINDOWS) / span;
    let mut windows: Vec<std::ops::Range<usize>> = Vec::new();
    for (i, &ns) in times_ns.iter().enumerate() {
        match windows.last_mut() {
            Some(last) if window(times_ns[last.start]) == window(ns) => last.end = i + 1,
            _ => windows.push(i..i + 1),
        }
    }
    windows
}

/// The ticks that stand for the windows: first, middle and last of each.
pub(crate) fn times(times_ns: &[i64], windows: &[std::ops::Range<usize>]) -> Vec<i64> {
    three(times_ns, windows, |times| {
        [times[0], times[times.len() / 2], times[times.len() - 1]]
    })
}

/// The values that stand for the windows: smallest and largest in their order, then the last.
pub(crate) fn values(cells: &[Option<f64>], windows: &[std::ops::Range<usize>]) -> Vec<Option<f64>> {
    three(cells, windows, |cells| {
        let number = |i: &usize| cells[*i].filter(|v| v.is_finite());
        let compare = |a: &usize, b: &usize| number(a).partial_cmp(&number(b)).expect("finite");
        let finite = || (0..cells.len()).filter(|i| number(i).is_some());
        let last = cells[cells.len() - 1];
        match (finite().min_by(compare), finite().max_by(compare)) {
            (Some(min), Some(max)) => [cells[min.min(max)], cells[min.max(max)], last],
            _ => [cells[0], cells[cells.len() / 2], last],
        }
    })
}

fn three<T: Copy>(all: &[T], windows: &[std::ops::Range<usize>], pick: impl Fn(&[T]) -> [T; 3]) -> Vec<T> {
    let mut out = Vec::with_capacity(windows.len() * 3);
    for window in windows {
        let part = &all[window.clone()];
        if part.len() <= 3 {
            out.extend_from_slice(part);
        } else {
            out.extend(pick(part));
        }
    }
    out
}

/// Neighbouring columns of a histogram as one, with the sums of their counts; never across a gap.
pub(crate) fn columns(columns: &[HistogramColumn], start_ns: i64, end_ns: i64) -> Vec<HistogramColumn> {
    let times: Vec<i64> = columns.iter().map(|c| c.end_ns).collect();
    let mut out: Vec<HistogramColumn> = Vec::new();
    for window in windows(&times, start_ns, end_ns) {
        let mut fresh = true;
        for column in &columns[window] {
            match out.last_mut() {
                Some(last) if !fresh && last.end_ns == column.start_ns => {
                    last.end_ns = column.end_ns;
                    last.counts
                        .iter_mut()
                        .zip(&column.counts)
                        .for_each(|(sum, n)| *sum += n);
                }
                _ => out.push(column.clone()),
            }
            fresh = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_survives() {
        let ns: Vec<i64> = (0..100_000).map(|i| i * 10).collect();
        let mut cells: Vec<Option<f64>> = (0..100_000).map(|i| Some(f64::from(i % 7))).collect();
        cells[51_234] = Some(1e6);
        cells[61_234] = None;
        let windows = windows(&ns, 0, 1_000_000);
        let (times, values) = (times(&ns, &windows), values(&cells, &windows));
        assert_eq!((times.len(), values.len()), (6_000, 6_000));
        assert!(values.contains(&Some(1e6)));
        assert!(times.is_sorted());
        assert_eq!(values.last(), cells.last());
    }

    #[test]
    fn few_points_stay_as_they_are() {
        let windows = windows(&[0, 1_000, 5_000], 0, 10_000);
        assert_eq!(
            values(&[Some(1.0), None, Some(f64::NAN)], &windows)[..2],
            [Some(1.0), None]
        );
        assert_eq!(times(&[0, 1_000, 5_000], &windows), [0, 1_000, 5_000]);
    }

    #[test]
    fn histograms_keep_their_sums_and_gaps() {
        let column = |i: i64| HistogramColumn {
            start_ns: i * 10,
            end_ns: i * 10 + 10,
            counts: vec![1, 2],
        };
        let input: Vec<_> = (0..50_000)
            .filter(|i| !(20_000..20_100).contains(i))
            .map(column)
            .collect();
        let out = columns(&input, 0, 500_000);
        assert!(out.len() <= 2_001, "{}", out.len());
        assert_eq!(out.iter().map(|c| c.counts[1]).sum::<u64>(), 2 * 49_900);
        assert!(
            out.iter().all(|c| c.end_ns <= 200_000 || c.start_ns >= 201_000),
            "no column spans the gap"
        );
    }
}
