//! LoadGen's early-stopping rule, for forecasts of its verdict.

use crate::ffi;

/// The least number of queries within the limit that let a test pass with `over` queries over it: LoadGen's
/// own computation, with its confidence of 0.99 and tolerance of 0.
///
/// A Server test passes if at least this many plus `over` queries were made. `percentile` is a fraction.
///
/// ```
/// assert_eq!(mlperf_loadgen::min_passing_queries(0, 0.99), Some(459));
/// ```
///
/// `None` if the percentile is not between 0 and 1, or if LoadGen's method cannot compute the number (more
/// than a million queries over the limit).
pub fn min_passing_queries(over: u64, percentile: f64) -> Option<u64> {
    let over = i64::try_from(over).ok().filter(|over| *over <= 1_000_000)?;
    if !(percentile > 0.0 && percentile < 1.0) {
        return None;
    }
    u64::try_from(ffi::min_passing_queries(over, percentile, 0.0, 0.99)).ok()
}
