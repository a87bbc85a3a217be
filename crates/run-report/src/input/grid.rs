//! Samples and spans put into whole seconds.

use vllm_metrics::derive::align;

pub(crate) const SECOND: i64 = 1_000_000_000;

/// The seconds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Beginning of second 0.
    pub(crate) start_ns: i64,
    /// How many.
    pub(crate) seconds: usize,
}

impl Grid {
    /// The seconds from one time to another, the last one whole.
    pub(crate) fn over(start_ns: i64, end_ns: i64) -> Self {
        let seconds = (end_ns - start_ns + SECOND - 1).div_euclid(SECOND);
        Self {
            start_ns,
            seconds: usize::try_from(seconds).unwrap_or(0),
        }
    }

    fn second(&self, time_ns: i64) -> Option<usize> {
        usize::try_from((time_ns - self.start_ns).div_euclid(SECOND))
            .ok()
            .filter(|second| *second < self.seconds)
    }

    /// Mean of the samples of each second. A second without samples keeps the value before it as long as a sample is
    /// not overdue.
    pub(crate) fn gauge(&self, times: &[i64], values: &[f64]) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0_u32); self.seconds];
        for (time, value) in times.iter().zip(values).filter(|(_, value)| value.is_finite()) {
            if let Some(second) = self.second(*time) {
                sums[second].0 += value;
                sums[second].1 += 1;
            }
        }
        let longest_ns = align::median_interval_ns(times).map_or(0, align::longest_step_ns);
        let held = |second: usize| {
            let begins_ns = self.start_ns + second as i64 * SECOND;
            let before = times.partition_point(|time| *time < begins_ns).checked_sub(1)?;
            (begins_ns - times[before] < longest_ns).then_some(values[before])
        };
        sums.into_iter()
            .enumerate()
            .map(|(second, (sum, count))| match count {
                0 => held(second).filter(|value| value.is_finite()),
                _ => Some(sum / f64::from(count)),
            })
            .collect()
    }

    /// What a counter grew by in each second. Growth between two samples is spread evenly over the time between them;
    /// what grew over a gap is in no second, since when it grew is not known.
    pub(crate) fn growth(
        &self,
        steps: impl IntoIterator<Item = (i64, i64, f64)>,
        longest_ns: i64,
    ) -> Vec<Option<f64>> {
        let (mut grown, mut covered) = (self.sums(), self.sums());
        for (from_ns, to_ns, increase) in steps {
            if to_ns - from_ns <= longest_ns {
                grown.spread(from_ns, to_ns, increase);
                covered.spread(from_ns, to_ns, (to_ns - from_ns) as f64 / SECOND as f64);
            }
        }
        let (grown, covered) = (grown.finish(), covered.finish());
        grown
            .into_iter()
            .zip(covered)
            // Half a second still says how much a whole one would have had.
            .map(|(grown, covered)| (covered >= 0.5).then(|| grown / covered.min(1.0)))
            .collect()
    }

    /// Sums with one cell per second, all 0.
    pub(crate) fn sums(&self) -> Sums {
        Sums {
            grid: *self,
            parts: vec![0.0; self.seconds + 1],
            per_second: vec![0.0; self.seconds + 1],
        }
    }
}

/// Amounts added up per second.
#[derive(Debug)]
pub(crate) struct Sums {
    grid: Grid,
    /// Amounts of seconds that a span covers in part.
    parts: Vec<f64>,
    /// Changes of the amount per whole second from one second to the next.
    per_second: Vec<f64>,
}

impl Sums {
    /// Adds an amount at one time. Outside the seconds it is left out.
    pub(crate) fn at(&mut self, time_ns: i64, amount: f64) {
        if let Some(second) = self.grid.second(time_ns) {
            self.parts[second] += amount;
        }
    }

    /// Adds an amount evenly over a span; the part outside the seconds is left out.
    pub(crate) fn spread(&mut self, from_ns: i64, to_ns: i64, amount: f64) {
        if to_ns <= from_ns {
            return self.at(from_ns, amount);
        }
        let per_ns = amount / (to_ns - from_ns) as f64;
        let Grid { start_ns, seconds } = self.grid;
        let end_ns = start_ns + seconds as i64 * SECOND;
        let (from_ns, to_ns) = (from_ns.max(start_ns), to_ns.min(end_ns));
        if to_ns <= from_ns {
            return;
        }
        let cell = |ns: i64| usize::try_from((ns - start_ns) / SECOND).unwrap_or(0);
        let (first, last) = (cell(from_ns), cell(to_ns));
        if first == last {
            self.parts[first] += per_ns * (to_ns - from_ns) as f64;
            return;
        }
        let begins = |second: usize| start_ns + second as i64 * SECOND;
        self.parts[first] += per_ns * (begins(first + 1) - from_ns) as f64;
        self.parts[last] += per_ns * (to_ns - begins(last)) as f64;
        self.per_second[first + 1] += per_ns * SECOND as f64;
        self.per_second[last] -= per_ns * SECOND as f64;
    }

    /// The sums.
    pub(crate) fn finish(self) -> Vec<f64> {
        let mut whole = 0.0;
        self.parts
            .iter()
            .zip(&self.per_second)
            .take(self.grid.seconds)
            .map(|(part, change)| {
                whole += change;
                // What rounding leaves of amounts that were taken back is no amount.
                let sum = part + whole;
                if sum.abs() < 1e-9 { 0.0 } else { sum }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid {
        start_ns: 0,
        seconds: 4,
    };

    #[test]
    fn a_span_is_spread_by_time_and_cut_at_the_edges() {
        let mut sums = GRID.sums();
        sums.spread(SECOND / 2, 3 * SECOND, 5.0);
        sums.spread(-SECOND, SECOND, 2.0);
        sums.spread(5 * SECOND, 6 * SECOND, 9.0);
        sums.at(3 * SECOND, 1.0);
        sums.at(4 * SECOND, 1.0);
        assert_eq!(sums.finish(), [2.0, 2.0, 2.0, 1.0]);
    }

    #[test]
    fn growth_over_a_gap_is_in_no_second() {
        let steps = [
            (0, SECOND, 3.0),
            (SECOND, 3 * SECOND, 100.0),
            (3 * SECOND, 4 * SECOND, 4.0),
        ];
        assert_eq!(
            GRID.growth(steps, SECOND + SECOND / 2),
            [Some(3.0), None, None, Some(4.0)]
        );
    }

    #[test]
    fn a_gauge_holds_until_it_is_overdue() {
        let times = [0, 2 * SECOND];
        assert_eq!(
            GRID.gauge(&times, &[1.0, 5.0]),
            [Some(1.0), Some(1.0), Some(5.0), Some(5.0)]
        );
        let dense = [0, SECOND / 2, SECOND];
        assert_eq!(
            GRID.gauge(&dense, &[1.0, 3.0, f64::NAN]),
            [Some(2.0), Some(3.0), None, None]
        );
    }
}
