//! Detectors of a lasting change in a stream of values: CUSUM and Page-Hinkley.

/// In which direction a level changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Values became larger.
    Up,
    /// Values became smaller.
    Down,
}

/// Two-sided CUSUM around a known level (Page, Biometrika 41, 1954). Best for residuals, whose level is 0.
///
/// `slack` is half the smallest change worth finding, `threshold` how much excess has to add up; both in the unit of
/// the values. With slack 0.5 σ and threshold 5 σ a false alarm comes about every 465 independent normal values and a
/// change of 1 σ is found after about 10 (Montgomery, Introduction to Statistical Quality Control, 9.1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cusum {
    level: f64,
    slack: f64,
    threshold: f64,
    above: f64,
    below: f64,
}

impl Cusum {
    /// A detector with empty sums.
    pub fn new(level: f64, slack: f64, threshold: f64) -> Self {
        Self {
            level,
            slack,
            threshold,
            above: 0.0,
            below: 0.0,
        }
    }

    /// Takes one value; returns a direction when the sum on that side passes the threshold, and starts again from 0.
    /// A value that is not finite is ignored.
    ///
    /// ```
    /// use run_statistics::{Cusum, Direction};
    /// let mut cusum = Cusum::new(0.0, 0.5, 5.0);
    /// assert_eq!(cusum.update(3.0), None);
    /// assert_eq!(cusum.update(3.0), None);
    /// assert_eq!(cusum.update(3.0), Some(Direction::Up));
    /// ```
    pub fn update(&mut self, value: f64) -> Option<Direction> {
        if !value.is_finite() {
            return None;
        }
        self.above = (self.above + value - self.level - self.slack).max(0.0);
        self.below = (self.below + self.level - self.slack - value).max(0.0);
        let alarm = if self.above > self.threshold {
            Direction::Up
        } else if self.below > self.threshold {
            Direction::Down
        } else {
            return None;
        };
        (self.above, self.below) = (0.0, 0.0);
        Some(alarm)
    }

    /// The sums on both sides, (above, below): how near an alarm is.
    pub fn sums(&self) -> (f64, f64) {
        (self.above, self.below)
    }
}

/// Page-Hinkley: CUSUM around the running mean, for a stream whose level is not known (Hinkley, Biometrika 58, 1971).
/// Two-sided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PageHinkley {
    slack: f64,
    threshold: f64,
    warm_up: u64,
    count: u64,
    mean: f64,
    rise: f64,
    lowest_rise: f64,
    fall: f64,
    lowest_fall: f64,
}

impl PageHinkley {
    /// A detector that gives no alarm during its first `warm_up` values.
    pub fn new(slack: f64, threshold: f64, warm_up: u64) -> Self {
        Self {
            slack,
            threshold,
            warm_up,
            count: 0,
            mean: 0.0,
            rise: 0.0,
            lowest_rise: 0.0,
            fall: 0.0,
            lowest_fall: 0.0,
        }
    }

    /// Takes one value; returns a direction when the level changed, and starts again from nothing. A value that is
    /// not finite is ignored.
    ///
    /// ```
    /// use run_statistics::{Direction, PageHinkley};
    /// let mut detector = PageHinkley::new(0.1, 3.0, 10);
    /// let stream = (0..100).map(|i| if i < 60 { 1.0 } else { 0.0 });
    /// let alarms: Vec<_> = stream.enumerate().filter_map(|(i, value)| Some((i, detector.update(value)?))).collect();
    /// assert_eq!(alarms, [(63, Direction::Down)]);
    /// ```
    pub fn update(&mut self, value: f64) -> Option<Direction> {
        if !value.is_finite() {
            return None;
        }
        self.count += 1;
        self.mean += (value - self.mean) / self.count as f64;
        self.rise += value - self.mean - self.slack;
        self.fall += self.mean - value - self.slack;
        self.lowest_rise = self.lowest_rise.min(self.rise);
        self.lowest_fall = self.lowest_fall.min(self.fall);
        if self.count <= self.warm_up {
            return None;
        }
        let alarm = if self.rise - self.lowest_rise > self.threshold {
            Direction::Up
        } else if self.fall - self.lowest_fall > self.threshold {
            Direction::Down
        } else {
            return None;
        };
        *self = Self::new(self.slack, self.threshold, self.warm_up);
        Some(alarm)
    }

    /// Values since the start or the last alarm.
    pub fn count(&self) -> u64 {
        self.count
    }
}
