//! Cumulative quantities over time: counters that may reset, and powers to be integrated.

/// A quantity that grew by `amount` between two times; in ascending order, without overlap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
    pub(super) amount: f64,
    /// Possible error of `amount` for the whole step.
    pub(super) error: f64,
}

/// The part of a quantity inside a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Inside {
    pub(super) amount: f64,
    /// Error from the unknown growth within the cut steps at both ends, plus the steps' own errors.
    pub(super) error: f64,
    pub(super) covered_ns: i64,
}

pub(super) fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// Steps of a counter. A decrease is a restart: the count since then is kept, the step is not covered.
pub(super) fn of_counter(timestamps_ns: &[i64], values: &[f64]) -> Vec<Step> {
    let mut steps = Vec::with_capacity(values.len().saturating_sub(1));
    for (t, v) in timestamps_ns.windows(2).zip(values.windows(2)) {
        let grown = v[1] - v[0];
        if t[1] > t[0] && grown >= 0.0 {
            steps.push(Step {
                from_ns: t[0],
                to_ns: t[1],
                amount: grown,
                error: 0.0,
            });
        }
    }
    steps
}

/// Steps of a power by the trapezoid rule. A step much longer than the others is a gap and is not covered.
/// The error of a step assumes that power stayed between its two end values.
pub(super) fn of_power(timestamps_ns: &[i64], watts: &[f64]) -> Vec<Step> {
    let longest = median_step(timestamps_ns).map_or(i64::MAX, |median| median.saturating_mul(5) / 2);
    let mut steps = Vec::with_capacity(watts.len().saturating_sub(1));
    for (t, p) in timestamps_ns.windows(2).zip(watts.windows(2)) {
        let dt = t[1] - t[0];
        if dt <= 0 || dt > longest || !(p[0] + p[1]).is_finite() {
            continue;
        }
        let amount = f64::midpoint(p[0], p[1]) * seconds(dt);
        let error = (p[1] - p[0]).abs() / 2.0 * seconds(dt);
        steps.push(Step {
            from_ns: t[0],
            to_ns: t[1],
            amount,
            error,
        });
    }
    steps
}

pub(super) fn median_step(timestamps_ns: &[i64]) -> Option<i64> {
    let mut steps: Vec<i64> = timestamps_ns
        .windows(2)
        .map(|t| t[1] - t[0])
        .filter(|&dt| dt > 0)
        .collect();
    let middle = steps.len() / 2;
    (!steps.is_empty()).then(|| *steps.select_nth_unstable(middle).1)
}

/// The part of the steps between two times, assuming even growth within a step.
pub(super) fn inside(steps: &[Step], from_ns: i64, to_ns: i64) -> Inside {
    let mut sum = Inside::default();
    let first = steps.partition_point(|step| step.to_ns <= from_ns);
    for step in &steps[first..] {
        if step.from_ns >= to_ns {
            break;
        }
        let overlap = step.to_ns.min(to_ns) - step.from_ns.max(from_ns);
        let share = overlap as f64 / (step.to_ns - step.from_ns) as f64;
        sum.amount += step.amount * share;
        // The growth of a step cut by the window may be entirely inside or outside.
        let cut = if share < 1.0 {
            step.amount * share.max(1.0 - share)
        } else {
            0.0
        };
        sum.error += step.error * share + cut;
        sum.covered_ns += overlap;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_its_share_of_the_steps_it_cuts() {
        let steps = of_counter(&[0, 10, 20, 30], &[0.0, 100.0, 150.0, 250.0]);
        let sum = inside(&steps, 5, 25);
        assert_eq!((sum.amount, sum.covered_ns), (50.0 + 50.0 + 50.0, 20));
        assert_eq!(sum.error, 50.0 + 50.0);
        assert_eq!(
            inside(&steps, 0, 30),
            Inside {
                amount: 250.0,
                error: 0.0,
                covered_ns: 30
            }
        );
        assert_eq!(
            inside(&steps, -50, 200).covered_ns,
            30,
            "nothing is made up outside the data"
        );
    }

    #[test]
    fn a_restart_is_not_covered_and_counts_nothing() {
        let steps = of_counter(&[0, 10, 20, 30], &[500.0, 600.0, 5.0, 25.0]);
        let sum = inside(&steps, 0, 30);
        assert_eq!((sum.amount, sum.covered_ns), (120.0, 20));
    }

    #[test]
    fn a_gap_in_power_is_not_integrated() {
        let second = 1_000_000_000;
        let at: Vec<i64> = [0, 1, 2, 3, 60, 61].iter().map(|s| s * second).collect();
        let steps = of_power(&at, &[100.0, 100.0, 200.0, 200.0, 200.0, 200.0]);
        let sum = inside(&steps, 0, 61 * second);
        assert_eq!(sum.amount, 100.0 + 150.0 + 200.0 + 200.0);
        assert_eq!(sum.error, 50.0);
        assert_eq!(sum.covered_ns, 4 * second);
    }
}
