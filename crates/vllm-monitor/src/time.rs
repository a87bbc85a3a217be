//! Timestamps on the run's clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds on the monotonic clock of the snapshots' producer.
///
/// The core never reads a clock; it compares the times it is given. A time is meaningless in another process, so saved
/// state contains none.
///
/// ```
/// use std::time::Duration;
/// use vllm_monitor::Time;
///
/// let start = Time::from_secs_f64(10.0);
/// let later = start + Duration::from_millis(1500);
/// assert_eq!(later.secs_since(start), 1.5);
/// assert_eq!(start.secs_since(later), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From seconds, for tests and generated runs.
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * 1e9) as i64)
    }

    /// In nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds from `earlier` to here; 0 if `earlier` is later.
    pub fn secs_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0).max(0) as f64 / 1e9
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)),
        )
    }
}
