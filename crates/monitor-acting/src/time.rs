//! Points in time that survive a restart.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
///
/// Cool-downs, budgets and a tripped breaker outlive the process, so this is wall time. The shell derives it
/// from one wall-clock reading plus monotonic time, so that it does not jump during the process. Saved times
/// in the future are limited to the longest possible wait when loaded.
///
/// ```
/// use monitor_acting::Time;
///
/// let start = Time::from_secs_f64(10.0);
/// assert_eq!(start.plus_secs(1.5).secs_since(start), 1.5);
/// assert_eq!(start.secs_since(start.plus_secs(1.5)), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch.
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * 1e3).round() as i64)
    }

    /// In milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds from `earlier` to here; 0 if `earlier` is later.
    pub fn secs_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0).max(0) as f64 / 1e3
    }

    /// This many seconds later.
    #[must_use]
    pub fn plus_secs(self, secs: f64) -> Self {
        Self(self.0.saturating_add((secs * 1e3).round() as i64))
    }
}
