//! The clock of a server in wall time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::Nanos;

/// Monotonic nanoseconds since the simulator's start, and the wall time they started at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    origin_wall: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
            origin_wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    pub(crate) fn now(self) -> Nanos {
        self.origin.elapsed().as_nanos() as Nanos
    }

    /// Converts a time of this clock to wall time, in seconds since the epoch.
    pub(crate) fn wall_secs(self, at: Nanos) -> f64 {
        (self.origin_wall + Duration::from_nanos(at)).as_secs_f64()
    }
}
