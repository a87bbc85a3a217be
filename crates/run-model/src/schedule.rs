//! The schedule of sampler threads: ticks at multiples of the interval since the start. Late ticks are
//! skipped and counted, not made up for.

use std::time::{Duration, Instant};

/// When the next tick is due.
#[derive(Debug)]
pub struct Schedule {
    origin: Instant,
    interval: Duration,
    tick: u32,
    missed: u64,
    late: bool,
}

/// What [`Schedule::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub struct NextSample {
    /// When the next tick is due.
    pub at: Instant,
    /// Number of missed ticks, if this is the first delay since the schedule was last met.
    pub newly_late: Option<u32>,
}

impl Schedule {
    /// Creates a schedule that starts now. An interval of zero becomes 1 ms, so that samplers sleep.
    pub fn new(interval: Duration) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        Self {
            origin: Instant::now(),
            interval,
            tick: 0,
            missed: 0,
            late: false,
        }
    }

    /// Due time of the first tick.
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Number of ticks that passed while an earlier one was still running.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Returns the next tick that is not in the past.
    pub fn next(&mut self, now: Instant) -> NextSample {
        self.tick = self.tick.saturating_add(1);
        let due = self.origin + self.interval * self.tick;
        if now <= due {
            self.late = false;
            return NextSample {
                at: due,
                newly_late: None,
            };
        }
        let behind = (now - due).as_nanos() / self.interval.as_nanos() + 1;
        let behind = u32::try_from(behind).unwrap_or(u32::MAX);
        self.missed += u64::from(behind);
        self.tick = self.tick.saturating_add(behind);
        let first = !std::mem::replace(&mut self.late, true);
        NextSample {
            at: self.origin + self.interval * self.tick,
            newly_late: first.then_some(behind),
        }
    }
}

/// CPU time of the calling thread.
pub fn thread_cpu_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_ticks_are_skipped_and_counted_and_told_once() {
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(second);
        let origin = schedule.origin();
        assert_eq!(
            schedule.next(origin),
            NextSample {
                at: origin + second,
                newly_late: None
            }
        );
        // The tick at 1 s ran until 4.5 s: 2, 3 and 4 are lost.
        let due = schedule.next(origin + second * 9 / 2);
        assert_eq!(
            due,
            NextSample {
                at: origin + second * 5,
                newly_late: Some(3)
            }
        );
        let due = schedule.next(origin + second * 13 / 2);
        assert_eq!(
            due,
            NextSample {
                at: origin + second * 7,
                newly_late: None
            }
        );
        assert_eq!(schedule.missed(), 4);
        schedule.next(origin + second * 7);
        assert_eq!(schedule.next(origin + second * 10).newly_late, Some(2));
    }
}
