//! The run's clock: a monotonic origin with a single wall-clock anchor, and raw counter ticks for the hooks.
//!
//! Reading the system's monotonic clock costs tens of nanoseconds, too much for a hook call. Hooks therefore
//! store raw ticks of the processor's counter, and the thread that drains them converts ticks to nanoseconds
//! using a fresh pair of readings of both clocks. The counter's own calibration is not used over longer
//! times: it was observed to be off by 50 ppm, which is 30 ms in ten minutes.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Raw ticks of the processor's counter. Only valid for [`TickConverter::to_ns`] of the same process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(
    /// The counter's value.
    pub u64,
);

/// The clock that timestamps every row of a run. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct RunClock {
    origin: Instant,
    /// Wall-clock time of `origin`, nanoseconds since the Unix epoch. The wall clock is read only here.
    wall_ns: i64,
    /// Not behind a pointer: a hook call must not wait for another cache line.
    counter: quanta::Clock,
}

impl RunClock {
    /// Creates a clock anchored to the current wall-clock time.
    pub fn start() -> Self {
        // Reading the counter's clock first keeps its one-time calibration (about a millisecond per process)
        // out of the time between the two readings below.
        let counter = quanta::Clock::new();
        let origin = Instant::now();
        Self {
            origin,
            wall_ns: Self::unix_ns(SystemTime::now()),
            counter,
        }
    }

    /// Now, in nanoseconds since the Unix epoch. Never steps back, whatever the wall clock does.
    pub fn now_ns(&self) -> i64 {
        self.at(Instant::now())
    }

    /// Converts `instant` to nanoseconds since the Unix epoch.
    pub fn at(&self, instant: Instant) -> i64 {
        match instant.checked_duration_since(self.origin) {
            Some(after) => self.wall_ns.saturating_add(nanos(after)),
            None => self
                .wall_ns
                .saturating_sub(nanos(self.origin.duration_since(instant))),
        }
    }

    /// A wall-clock time in nanoseconds since the Unix epoch: negative before 1970, and the nearest time that 64 bits
    /// hold (to April 2262) for any other.
    pub fn unix_ns(time: SystemTime) -> i64 {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => nanos(since),
            Err(before) => -nanos(before.duration()),
        }
    }

    /// When this clock was anchored, in nanoseconds since the Unix epoch.
    pub fn started_ns(&self) -> i64 {
        self.wall_ns
    }

    /// Reads the processor's counter, the cheapest clock (about 15 ns on a virtual machine, 7 ns on metal).
    pub fn ticks(&self) -> Ticks {
        Ticks(self.counter.raw())
    }

    /// A converter for ticks read from this clock.
    pub fn converter(&self) -> TickConverter {
        let first = Pair::read(self);
        TickConverter {
            clock: self.clone(),
            first,
            last: first,
        }
    }
}

fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct Pair {
    ticks: u64,
    ns: i64,
}

impl Pair {
    fn read(clock: &RunClock) -> Self {
        // Takes the reading with the fewest ticks of three; the others were interrupted.
        (0..3)
            .map(|_| {
                let before = clock.ticks().0;
                let ns = clock.now_ns();
                let after = clock.ticks().0;
                let width = after.saturating_sub(before);
                (
                    width,
                    Self {
                        ticks: before + width / 2,
                        ns,
                    },
                )
            })
            .min_by_key(|(width, _)| *width)
            .expect("three readings have a least one")
            .1
    }
}

/// Converts ticks to nanoseconds on the run's clock.
#[derive(Debug)]
pub struct TickConverter {
    clock: RunClock,
    first: Pair,
    last: Pair,
}

/// Time between two readings from which their slope is more accurate than the counter's calibration.
const BASELINE_NS: i64 = 200_000_000;

impl TickConverter {
    /// Reads both clocks again. Call it before converting ticks of the last few hundred milliseconds.
    pub fn refresh(&mut self) {
        self.last = Pair::read(&self.clock);
    }

    /// Returns when `ticks` were read, in nanoseconds since the Unix epoch.
    pub fn to_ns(&self, ticks: Ticks) -> i64 {
        if ticks.0 <= self.last.ticks {
            self.last.ns - self.span_ns(ticks.0, self.last.ticks)
        } else {
            self.last.ns + self.span_ns(self.last.ticks, ticks.0)
        }
    }

    /// Returns the length of a span of ticks in nanoseconds.
    pub fn span_ns(&self, from: u64, to: u64) -> i64 {
        let baseline_ns = self.last.ns - self.first.ns;
        let baseline_ticks = self.last.ticks.saturating_sub(self.first.ticks);
        if baseline_ns < BASELINE_NS || baseline_ticks == 0 {
            return i64::try_from(self.clock.counter.delta_as_nanos(from, to)).unwrap_or(i64::MAX);
        }
        let ticks = to.saturating_sub(from) as f64;
        (ticks * (baseline_ns as f64 / baseline_ticks as f64)).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ticks_and_nanoseconds_tell_the_same_time() {
        let clock = RunClock::start();
        let mut converter = clock.converter();
        for _ in 0..100 {
            let before = clock.now_ns();
            let ticks = clock.ticks();
            let after = clock.now_ns();
            converter.refresh();
            let between = converter.to_ns(ticks);
            assert!(
                before - 20_000 <= between && between <= after + 20_000,
                "{before} {between} {after}"
            );
        }
    }

    #[test]
    fn wall_clocks_before_1970_are_negative() {
        let half = Duration::from_millis(1500);
        assert_eq!(RunClock::unix_ns(UNIX_EPOCH + half), 1_500_000_000);
        assert_eq!(RunClock::unix_ns(UNIX_EPOCH - half), -1_500_000_000);
        let year_2300 = Duration::from_secs(330 * 31_556_952);
        assert_eq!(RunClock::unix_ns(UNIX_EPOCH + year_2300), i64::MAX);
    }

    #[test]
    fn instants_before_the_origin_are_before_it() {
        let early = Instant::now();
        let clock = RunClock::start();
        assert!(clock.at(early) <= clock.started_ns());
        let hour = Duration::from_secs(3600);
        assert_eq!(
            clock.at(clock.origin + hour) - clock.started_ns(),
            3_600_000_000_000
        );
    }
}
