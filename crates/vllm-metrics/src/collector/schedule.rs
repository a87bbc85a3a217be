//! Scrape schedule: ticks at fixed distances from one start, so they do not drift. A tick that cannot be kept
//! is skipped and counted, not made up for.

use std::time::Duration;

use tokio::time::Instant;

/// The ticks of one endpoint.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    interval: Duration,
    next: u32,
}

impl Schedule {
    /// Ticks at `start`, `start + interval`, ….
    pub(super) fn new(start: Instant, interval: Duration) -> Self {
        Self {
            start,
            interval,
            next: 0,
        }
    }

    /// The next tick.
    pub(super) fn next_tick(&self) -> Instant {
        self.tick(self.next)
    }

    /// Advances to the tick after the next one; called once the next one has been served.
    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    /// Skips ticks that are more than half an interval in the past at `now`, and returns their number.
    pub(super) fn skip_missed(&mut self, now: Instant) -> u32 {
        let mut missed = 0;
        if let Some(late) = now.checked_duration_since(self.next_tick() + self.interval / 2) {
            missed = u32::try_from(late.as_nanos() / self.interval.as_nanos())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            self.next = self.next.saturating_add(missed);
        }
        missed
    }

    fn tick(&self, n: u32) -> Instant {
        self.start + self.interval * n
    }
}

/// Back-off after failures: doubles until a success resets it.
#[derive(Debug)]
pub(super) struct BackOff {
    wait: Duration,
}

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(60);

impl BackOff {
    pub(super) fn new() -> Self {
        Self { wait: FIRST_RETRY }
    }

    pub(super) fn reset(&mut self) {
        self.wait = FIRST_RETRY;
    }

    /// Returns the wait before the next retry outside the schedule.
    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LAST_RETRY);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(500);

    #[test]
    fn ticks_stand_at_fixed_distances_however_late_they_are_served() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, STEP);
        for n in 0..120 {
            assert_eq!(schedule.next_tick(), start + STEP * n);
            // Served late, but within half an interval.
            assert_eq!(
                schedule.skip_missed(start + STEP * n + Duration::from_millis(200)),
                0
            );
            schedule.advance();
        }
    }

    #[test]
    fn ticks_that_are_over_are_skipped_and_counted() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, STEP);
        schedule.advance();
        assert_eq!(schedule.skip_missed(start + Duration::from_millis(2100)), 3);
        assert_eq!(schedule.next_tick(), start + Duration::from_millis(2000));
        assert_eq!(schedule.skip_missed(start + Duration::from_millis(2100)), 0);
    }

    #[test]
    fn waits_double_until_a_success() {
        let mut back_off = BackOff::new();
        let waits: Vec<u128> = (0..4).map(|_| back_off.next_wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800]);
        back_off.reset();
        assert_eq!(back_off.next_wait().as_millis(), 100);
    }
}
