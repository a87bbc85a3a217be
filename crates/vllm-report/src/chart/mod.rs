//! The panels of each picture.

pub(crate) mod gpu;
pub(crate) mod metric;
pub(crate) mod overview;
pub(crate) mod requests;

/// Note on every picture whose quantiles come from buckets.
pub(crate) const ESTIMATES: &str = "quantiles are estimates from histogram buckets";
