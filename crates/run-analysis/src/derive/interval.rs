//! The observations of a histogram between two times.

/// The observations of a histogram between two scrapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Index of the later scrape.
    pub index: usize,
    /// Time of the earlier scrape.
    pub start_ns: i64,
    /// Time of the later scrape.
    pub end_ns: i64,
    /// Observations per bucket, not cumulative.
    pub counts: Vec<f64>,
    /// Sum of the observations.
    pub sum: f64,
    /// Number of observations.
    pub count: f64,
    /// The histogram decreased in between: counted since its restart.
    pub reset: bool,
    /// Observations with known values: the sum of an interval with a single one.
    pub known: Vec<f64>,
}

impl Interval {
    /// Exact mean of the observations; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}

/// Adds the observations of `more` to `to`.
pub fn add(to: &mut Interval, more: &Interval) {
    for (sum, count) in to.counts.iter_mut().zip(&more.counts) {
        *sum += count;
    }
    to.sum += more.sum;
    to.count += more.count;
    to.start_ns = to.start_ns.min(more.start_ns);
    to.end_ns = to.end_ns.max(more.end_ns);
    to.index = to.index.max(more.index);
    to.reset |= more.reset;
    to.known.extend_from_slice(&more.known);
}
