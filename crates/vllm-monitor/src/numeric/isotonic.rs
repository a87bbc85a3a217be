//! Isotonic regression: the non-decreasing steps that fit weighted points best.

/// One point: where it stands, what was observed there, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Place on the axis; points are given in ascending order.
    pub x: f64,
    /// Mean of what was observed.
    pub y: f64,
    /// Weight, such as the number of observations; above 0.
    pub weight: f64,
}

/// The fitted value at each point, by pooling neighbours that are out of order.
///
/// ```
/// use vllm_monitor::numeric::isotonic::{Point, fit};
///
/// let point = |x, y| Point { x, y, weight: 1.0 };
/// assert_eq!(fit(&[point(0.0, 0.1), point(0.5, 0.6), point(1.0, 0.4)]), [0.1, 0.5, 0.5]);
/// ```
pub fn fit(points: &[Point]) -> Vec<f64> {
    // (mean, weight, points pooled)
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(points.len());
    for point in points {
        pools.push((point.y, point.weight, 1));
        while let [.., before, last] = pools[..]
            && before.0 > last.0
        {
            let weight = before.1 + last.1;
            let mean = (before.0 * before.1 + last.0 * last.1) / weight;
            pools.truncate(pools.len() - 2);
            pools.push((mean, weight, before.2 + last.2));
        }
    }
    pools
        .iter()
        .flat_map(|(mean, _, count)| std::iter::repeat_n(*mean, *count))
        .collect()
}

/// The value at `x` of straight lines through `(xs, ys)`, constant beyond both ends. `xs` ascend.
pub fn interpolate(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    let after = xs.partition_point(|at| *at < x);
    match (after.checked_sub(1), xs.get(after)) {
        (None, _) => ys.first().copied().unwrap_or(x),
        (Some(before), None) => ys[before],
        (Some(before), Some(next)) => {
            let share = (x - xs[before]) / (next - xs[before]).max(1e-300);
            ys[before] + share * (ys[after] - ys[before])
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_count() {
        let points = [
            Point {
                x: 0.0,
                y: 1.0,
                weight: 3.0,
            },
            Point {
                x: 1.0,
                y: 0.0,
                weight: 1.0,
            },
        ];
        assert_eq!(fit(&points), [0.75, 0.75]);
    }

    #[test]
    fn lines_between_and_constants_beyond() {
        let (xs, ys) = ([0.0, 0.5, 1.0], [0.0, 0.2, 1.0]);
        for (x, y) in [(-1.0, 0.0), (0.25, 0.1), (0.75, 0.6), (2.0, 1.0)] {
            assert!((interpolate(&xs, &ys, x) - y).abs() < 1e-12);
        }
    }

    proptest! {
        #[test]
        fn never_falls_and_keeps_the_weighted_mean(
            observed in prop::collection::vec((0.0..1.0_f64, 0.1..10.0_f64), 1..40),
        ) {
            let points: Vec<Point> = observed
                .iter()
                .enumerate()
                .map(|(i, (y, weight))| Point { x: i as f64, y: *y, weight: *weight })
                .collect();
            let fitted = fit(&points);
            prop_assert!(fitted.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
            let mean = |values: &mut dyn Iterator<Item = f64>| -> f64 { values.sum() };
            let before = mean(&mut points.iter().map(|p| p.y * p.weight));
            let after = mean(&mut points.iter().zip(&fitted).map(|(p, y)| y * p.weight));
            prop_assert!((before - after).abs() < 1e-9 * before.abs().max(1.0));
        }
    }
}
