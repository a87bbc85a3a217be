//! A stretch of time on the run's clock.

use serde::Serialize;

/// From one time to another, the end not included; nanoseconds on the run's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Beginning.
    pub from_ns: i64,
    /// End.
    pub to_ns: i64,
}

impl Span {
    /// Length in seconds; 0 for a span that ends before it begins.
    ///
    /// ```
    /// let span = run_diagnosis::input::Span { from_ns: 500_000_000, to_ns: 2_000_000_000 };
    /// assert_eq!(span.secs(), 1.5);
    /// ```
    pub fn secs(&self) -> f64 {
        self.to_ns.saturating_sub(self.from_ns).max(0) as f64 / 1e9
    }

    /// Whether a time lies inside.
    pub fn contains(&self, time_ns: i64) -> bool {
        (self.from_ns..self.to_ns).contains(&time_ns)
    }
}
