//! Which panels each picture has.

pub(crate) mod gpu;
pub(crate) mod metric;
pub(crate) mod overview;
pub(crate) mod requests;

/// Told on every picture whose quantiles come from buckets.
pub(crate) const ESTIMATES: &str = "quantiles are estimates from histogram buckets";
