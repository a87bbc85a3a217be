//! Time axes that series share.

use crate::model::Series;

/// A series joins a longer one's axis if it fills that axis in at most so many stretches.
const MOST_PIECES: usize = 8;

/// A series on the axis with an index: one cell per time, `None` where it has no sample.
pub(super) type Placed = (usize, Vec<Option<f64>>);

/// The time axes of all series, and for each series its axis and its values on it.
pub(super) fn axes(series: &[Series]) -> (Vec<&[i64]>, Vec<Placed>) {
    let mut axes: Vec<&[i64]> = Vec::new();
    let mut placed = vec![(0, Vec::new()); series.len()];
    let mut longest_first: Vec<usize> = (0..series.len()).collect();
    longest_first.sort_by_key(|&i| std::cmp::Reverse(series[i].timestamps_ns.len()));
    for i in longest_first {
        let one = &series[i];
        let found = axes
            .iter()
            .enumerate()
            .find_map(|(axis, times)| Some((axis, on_axis(one, times)?)));
        placed[i] = found.unwrap_or_else(|| {
            axes.push(&one.timestamps_ns);
            (axes.len() - 1, one.values.iter().copied().map(Some).collect())
        });
    }
    (axes, placed)
}

/// The values of a series on an axis that holds all of its times, in few stretches.
fn on_axis(series: &Series, axis: &[i64]) -> Option<Vec<Option<f64>>> {
    let times = &series.timestamps_ns;
    let Some(first) = times.first() else {
        return Some(vec![None; axis.len()]);
    };
    let mut at = axis.binary_search(first).ok()?;
    let mut cells = vec![None; axis.len()];
    let mut pieces = 1;
    for (time, value) in times.iter().zip(&series.values) {
        if axis.get(at) != Some(time) {
            at += axis.get(at..)?.binary_search(time).ok()?;
            pieces += 1;
            if pieces > MOST_PIECES {
                return None;
            }
        }
        cells[at] = Some(*value);
        at += 1;
    }
    Some(cells)
}
