//! A rising curve through noisy points: isotonic regression by pooling adjacent violators.

use crate::moments::all_finite;

/// A curve that never falls, linear between its knots and constant outside them.
///
/// Used to turn the scores of a predictor into probabilities: fit it on (score, 0 or 1) of held-out runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Isotonic {
    knots: Vec<(f64, f64)>,
}

struct Block {
    first_x: f64,
    last_x: f64,
    mean_y: f64,
    count: f64,
}

impl Isotonic {
    /// The rising curve with the least squared distance to the points, which may come in any order. Points of one x
    /// are averaged first. `None` for no points, different lengths, or a value that is not finite.
    ///
    /// ```
    /// use run_statistics::Isotonic;
    /// let curve = Isotonic::fit(&[1.0, 2.0, 3.0, 4.0], &[0.0, 1.0, 0.0, 1.0]).unwrap();
    /// assert_eq!(curve.knots(), [(1.0, 0.0), (2.0, 0.5), (3.0, 0.5), (4.0, 1.0)]);
    /// assert_eq!(curve.at(3.5), 0.75);
    /// ```
    pub fn fit(x: &[f64], y: &[f64]) -> Option<Self> {
        if x.is_empty() || x.len() != y.len() || !all_finite(x) || !all_finite(y) {
            return None;
        }
        let mut points: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut blocks: Vec<Block> = Vec::new();
        for same_x in points.chunk_by(|a, b| a.0 == b.0) {
            let count = same_x.len() as f64;
            let mut block = Block {
                first_x: same_x[0].0,
                last_x: same_x[0].0,
                mean_y: same_x.iter().map(|point| point.1).sum::<f64>() / count,
                count,
            };
            while let Some(before) = blocks.pop_if(|before| before.mean_y >= block.mean_y) {
                let count = before.count + block.count;
                block.mean_y = (before.mean_y * before.count + block.mean_y * block.count) / count;
                block.first_x = before.first_x;
                block.count = count;
            }
            blocks.push(block);
        }
        let mut knots = Vec::with_capacity(2 * blocks.len());
        for block in blocks {
            knots.push((block.first_x, block.mean_y));
            if block.last_x > block.first_x {
                knots.push((block.last_x, block.mean_y));
            }
        }
        Some(Self { knots })
    }

    /// A curve from stored knots. `None` for no knots, or unless x rises strictly and y does not fall.
    pub fn from_knots(knots: Vec<(f64, f64)>) -> Option<Self> {
        let finite = knots.iter().all(|(x, y)| x.is_finite() && y.is_finite());
        let rising = knots
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        (!knots.is_empty() && finite && rising).then_some(Self { knots })
    }

    /// Height of the curve at `x`; NaN for NaN.
    pub fn at(&self, x: f64) -> f64 {
        if x.is_nan() {
            return x;
        }
        let after = self.knots.partition_point(|knot| knot.0 <= x);
        let Some(&(right_x, right_y)) = self.knots.get(after) else {
            return self.knots[self.knots.len() - 1].1;
        };
        let Some(&(left_x, left_y)) = after.checked_sub(1).map(|i| &self.knots[i]) else {
            return right_y;
        };
        left_y + (right_y - left_y) * (x - left_x) / (right_x - left_x)
    }

    /// The knots (x, y), ascending.
    pub fn knots(&self) -> &[(f64, f64)] {
        &self.knots
    }
}
