//! Counters that fall and come back: several processes that answer one URL in turn.

/// How often a counter comes back before that is taken for several processes. A server that is started again
/// seldom counts past its former level between two scrapes, and hardly ever does so three times.
pub const RETURNS: u32 = 3;

/// Follows one counter and finds the scrapes at which it comes back to its level before a fall.
///
/// ```
/// use run_model::saw_tooth::{Change, SawTooth};
///
/// let mut counter = SawTooth::new();
/// let changes = [1000.0, 210.0, 1020.0].map(|value| counter.add(value));
/// assert_eq!(changes, [Change::Onward, Change::Fell, Change::CameBack]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SawTooth {
    previous: f64,
    /// The value before the fall; infinite if the counter has not fallen or has come back.
    peak: f64,
    /// The lowest value since the fall.
    trough: f64,
}

/// The change of a counter from one scrape to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The first value, the same one, a higher one, or none.
    Onward,
    /// A lower value.
    Fell,
    /// At least the value before the fall, in a jump of at least half the fall's depth. A counter that starts
    /// again at zero usually gets there in smaller steps.
    CameBack,
}

impl SawTooth {
    /// A counter without values.
    pub fn new() -> Self {
        Self {
            previous: f64::NEG_INFINITY,
            peak: f64::INFINITY,
            trough: f64::INFINITY,
        }
    }

    /// Takes the next value. NaN is skipped.
    #[inline]
    pub fn add(&mut self, value: f64) -> Change {
        if value.is_nan() {
            return Change::Onward;
        }
        let before = std::mem::replace(&mut self.previous, value);
        if value < before {
            if self.peak == f64::INFINITY {
                self.peak = before;
            }
            self.trough = self.trough.min(value);
            return Change::Fell;
        }
        if value < self.peak || self.peak == f64::INFINITY {
            return Change::Onward;
        }
        let depth = self.peak - self.trough;
        (self.peak, self.trough) = (f64::INFINITY, f64::INFINITY);
        if value - before >= depth / 2.0 {
            Change::CameBack
        } else {
            Change::Onward
        }
    }
}

impl Default for SawTooth {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether successive values of a counter are those of several processes. Nothing can be said of the increase
/// of such a counter.
pub fn alternates(values: &[f64]) -> bool {
    let mut counter = SawTooth::new();
    let returns = values
        .iter()
        .filter(|value| counter.add(**value) == Change::CameBack)
        .take(RETURNS as usize);
    returns.count() == RETURNS as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_two_and_three_processes_alternate() {
        assert!(alternates(&[1000.0, 210.0, 1020.0, 230.0, 1040.0, 250.0, 1060.0]));
        // In no fixed order, with a scrape that gave no number.
        assert!(alternates(&[
            1000.0,
            500.0,
            200.0,
            510.0,
            1010.0,
            f64::NAN,
            1020.0,
            210.0,
            1030.0,
            520.0,
            1040.0
        ]));
    }

    #[test]
    fn restarts_do_not_alternate() {
        // Started again four times; each time it counts past its former level in steps.
        let mut values = Vec::new();
        for run in 1..=5 {
            values.extend((0..=run * 10).map(f64::from));
        }
        assert!(!alternates(&values));
        assert!(!alternates(&[1000.0, 1010.0, 0.0, 20.0, 40.0]));
        assert!(!alternates(&[5.0; 9]) && !alternates(&[]));
    }
}
