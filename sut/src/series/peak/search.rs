//! The search strategy: brackets the highest valid rate by doubling and halving, then narrows the bracket.
//! Independent of runs.

/// Number of doublings or halvings before the search gives up: a factor of a thousand from the first rate.
const MOST_STEPS: u32 = 10;

/// The state of a search for the highest rate that is valid.
#[derive(Debug, Clone)]
pub(super) struct Search {
    first: f64,
    precision: f64,
    /// The highest rate that was valid.
    valid: Option<f64>,
    /// The lowest rate that was not valid.
    invalid: Option<f64>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Next {
    /// Try this rate.
    Try(f64),
    /// The highest valid rate is known with the requested precision.
    Found(f64),
    /// No rate was valid.
    NoneValid,
    /// Every rate was valid, up to this one.
    AllValid(f64),
}

impl Search {
    /// Starts at `first` queries per second, and ends when the highest valid and the lowest invalid rate
    /// differ by no more than the fraction `precision`.
    pub(super) fn new(first: f64, precision: f64) -> Self {
        Self {
            first: readable(first),
            precision,
            valid: None,
            invalid: None,
        }
    }

    /// What to do next.
    pub(super) fn next(&self) -> Next {
        let far = 2f64.powi(i32::try_from(MOST_STEPS).unwrap_or(i32::MAX));
        match (self.valid, self.invalid) {
            (None, None) => Next::Try(self.first),
            (Some(valid), None) if valid >= self.first * far => Next::AllValid(valid),
            (Some(valid), None) => Next::Try(readable(valid * 2.0)),
            (None, Some(invalid)) if invalid <= self.first / far => Next::NoneValid,
            (None, Some(invalid)) => Next::Try(readable(invalid / 2.0)),
            (Some(valid), Some(invalid)) => {
                let middle = readable((valid * invalid).sqrt());
                if invalid / valid <= 1.0 + self.precision || middle <= valid || middle >= invalid {
                    Next::Found(valid)
                } else {
                    Next::Try(middle)
                }
            }
        }
    }

    /// Records the outcome of a trial.
    pub(super) fn note(&mut self, rate: f64, valid: bool) {
        if valid {
            self.valid = Some(self.valid.map_or(rate, |known| known.max(rate)));
        } else {
            self.invalid = Some(self.invalid.map_or(rate, |known| known.min(rate)));
        }
        // A failed rate outweighs a higher one that passed, since the result must be a rate that holds.
        if let (Some(low), Some(high)) = (self.valid, self.invalid)
            && low >= high
        {
            self.valid = None;
        }
    }

    /// The next lower rate to confirm after `rate` did not hold in a long run.
    pub(super) fn below(&self, rate: f64) -> f64 {
        readable(rate * (1.0 - self.precision.max(0.01)))
    }
}

/// Rounds to four digits: finer differences are noise, and users may type the number.
fn readable(rate: f64) -> f64 {
    let scale = 10f64.powf(3.0 - rate.abs().log10().floor());
    (rate * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches with every rate up to `peak` valid; returns the result and the number of trials.
    fn search(first: f64, precision: f64, peak: f64) -> (Next, u32) {
        let mut search = Search::new(first, precision);
        let mut trials = 0;
        loop {
            match search.next() {
                Next::Try(rate) => {
                    trials += 1;
                    assert!(trials < 60, "no end");
                    search.note(rate, rate <= peak);
                }
                end => return (end, trials),
            }
        }
    }

    #[test]
    fn the_peak_is_found_from_below_and_from_above() {
        for first in [1.0, 30.0, 47.3, 60.0, 900.0] {
            let (Next::Found(rate), trials) = search(first, 0.02, 47.3) else {
                panic!("{first}")
            };
            assert!((47.3 / 1.02..=47.3).contains(&rate), "{first}: {rate}");
            assert!(trials <= 14, "{first}: {trials} trials");
        }
    }

    #[test]
    fn searches_without_an_answer_end() {
        assert_eq!(search(10.0, 0.02, 0.0).0, Next::NoneValid);
        assert!(matches!(search(10.0, 0.02, f64::INFINITY).0, Next::AllValid(rate) if rate >= 10_000.0));
    }

    #[test]
    fn a_rate_that_failed_outweighs_a_higher_one_that_passed() {
        let mut search = Search::new(10.0, 0.02);
        search.note(20.0, true);
        search.note(10.0, false);
        assert_eq!(search.next(), Next::Try(5.0));
    }

    #[test]
    fn rates_can_be_typed() {
        assert_eq!(
            [readable(47.318_24), readable(0.012_345_6), readable(2000.0)],
            [47.32, 0.012_35, 2000.0]
        );
        assert_eq!(Search::new(10.0, 0.02).below(100.0), 98.0);
    }
}
