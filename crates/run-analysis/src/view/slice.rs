//! The part of a series inside a window.

use run_model::SeriesData;

/// Index of the last sample at or before `from_ns`, the baseline of the window, and one past the last at or
/// before `to_ns`. Without such a sample, the first one of the window is the baseline.
pub(super) fn bounds(times: &[i64], from_ns: i64, to_ns: i64) -> (usize, usize) {
    let end = times.partition_point(|t| *t <= to_ns);
    let start = times.partition_point(|t| *t <= from_ns).saturating_sub(1);
    (start.min(end), end)
}

/// The samples of the window with their baseline, as a series.
pub(super) fn part(series: &SeriesData, from_ns: i64, to_ns: i64) -> SeriesData {
    let (start, end) = bounds(&series.timestamps_ns, from_ns, to_ns);
    SeriesData {
        def: series.def.clone(),
        timestamps_ns: series.timestamps_ns[start..end].to_vec(),
        values: series.values[start..end].to_vec(),
        // Window figures do not use phases.
        phases: Vec::new(),
    }
}

/// The newest finite value inside the window.
pub(super) fn newest(series: &SeriesData, from_ns: i64, to_ns: i64) -> Option<f64> {
    let end = series.timestamps_ns.partition_point(|t| *t <= to_ns);
    let inside = series.timestamps_ns[..end].partition_point(|t| *t < from_ns);
    series.values[inside..end]
        .iter()
        .rev()
        .copied()
        .find(|v| v.is_finite())
}
