//! Detects steps of the wall clock. LoadGen schedules and measures by it: after a step back it issues nothing
//! until the clock has caught up, and after a step forward every latency is wrong.

use std::time::{Duration, Instant, SystemTime};

use vllm_metrics::RunClock;

/// A step of this size or more ends the run. Clocks that are slewed gain or lose less between two looks.
const STEP_NS: i128 = 500_000_000;
/// If reading both clocks took longer, the thread was interrupted in between and the reading says nothing.
const READING: Duration = Duration::from_millis(20);

/// The wall clock relative to the monotonic clock.
#[derive(Debug)]
pub(crate) struct WallClock {
    origin: Instant,
    /// Wall clock minus monotonic clock at the last look, in nanoseconds.
    offset_ns: Option<i128>,
}

impl WallClock {
    /// Starts to watch.
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
            offset_ns: None,
        }
    }

    /// The step since the last look in nanoseconds, negative if the clock was set back; `None` without one.
    pub(crate) fn look(&mut self) -> Option<i128> {
        let before = Instant::now();
        let wall = SystemTime::now();
        let took = before.elapsed();
        self.step(before.duration_since(self.origin), wall, took)
    }

    fn step(&mut self, monotonic: Duration, wall: SystemTime, took: Duration) -> Option<i128> {
        if took > READING {
            return None;
        }
        let offset = i128::from(RunClock::unix_ns(wall)) - monotonic.as_nanos() as i128;
        let step = offset - self.offset_ns.replace(offset)?;
        (step.abs() >= STEP_NS).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(100);

    /// The steps seen in readings of the monotonic clock and the wall clock, in seconds.
    fn steps(readings: &[(f64, f64)]) -> Vec<Option<i128>> {
        let mut clock = WallClock::start();
        let at = |secs: f64| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(secs);
        readings
            .iter()
            .map(|(monotonic, wall)| {
                let step = clock.step(Duration::from_secs_f64(*monotonic), at(*wall), Duration::ZERO);
                step.map(|ns| ns / 1_000_000_000)
            })
            .collect()
    }

    #[test]
    fn steps_in_both_directions_are_seen_once() {
        let back = [(0.0, 10_000.0), (0.1, 10_000.1), (0.2, 6_400.2), (0.3, 6_400.3)];
        assert_eq!(steps(&back), [None, None, Some(-3600), None]);
        let forward = [(0.0, 10_000.0), (0.1, 96_400.1), (0.2, 96_400.2)];
        assert_eq!(steps(&forward), [None, Some(86_400), None]);
    }

    #[test]
    fn a_slewed_clock_and_a_late_look_are_no_steps() {
        // 10 % fast, the most that chrony slews by; then ten seconds without a look.
        let slewed = [(0.0, 100.0), (0.1, 100.11), (0.2, 100.22), (10.2, 110.22)];
        assert_eq!(steps(&slewed), [None; 4]);
    }

    #[test]
    fn an_interrupted_reading_is_left_out() {
        let mut clock = WallClock::start();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(50);
        assert_eq!(clock.step(LOOK, wall, Duration::ZERO), None);
        let late = wall + Duration::from_secs(3);
        assert_eq!(clock.step(2 * LOOK, late, Duration::from_secs(3)), None);
        assert_eq!(
            clock.step(Duration::from_millis(3100), late, Duration::ZERO),
            None
        );
    }

    #[test]
    fn a_clock_before_1970_is_followed() {
        let mut clock = WallClock::start();
        let wall = SystemTime::UNIX_EPOCH - Duration::from_secs(50);
        assert_eq!(clock.step(LOOK, wall, Duration::ZERO), None);
        let back = wall - Duration::from_secs(60);
        let step = clock.step(LOOK, back, Duration::ZERO);
        assert_eq!(step, Some(-60_000_000_000));
    }
}
