//! Fewer points than samples without losing a spike: first, lowest, highest and last of each pixel column.

use crate::scene::Point;

/// Reduces points (x ascending) to at most four per column of width `column`, keeping the extremes of each.
///
/// A series that has no more than that stays as it is.
pub(crate) fn columns(points: &[Point], column: f32) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    if column <= 0.0 || (points.len() as f32) * column <= 4.0 * (last.0 - first.0).max(column) {
        return points.to_vec();
    }
    let mut out: Vec<Point> = Vec::with_capacity((4.0 * (last.0 - first.0) / column) as usize + 4);
    let mut start = 0;
    while start < points.len() {
        let index = ((points[start].0 - first.0) / column).floor();
        let mut end = start + 1;
        while end < points.len() && ((points[end].0 - first.0) / column).floor() == index {
            end += 1;
        }
        push_extremes(&points[start..end], &mut out);
        start = end;
    }
    out
}

fn push_extremes(column: &[Point], out: &mut Vec<Point>) {
    let (mut lowest, mut highest) = (0, 0);
    for (i, point) in column.iter().enumerate() {
        if point.1 < column[lowest].1 {
            lowest = i;
        }
        if point.1 > column[highest].1 {
            highest = i;
        }
    }
    let mut keep = [0, lowest, highest, column.len() - 1];
    keep.sort_unstable();
    let mut before = None;
    for i in keep {
        if before != Some(i) {
            out.push(column[i]);
            before = Some(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_survive() {
        let mut points: Vec<Point> = (0..100_000).map(|i| (i as f32 * 0.01, 5.0)).collect();
        points[12_345].1 = -3.0;
        points[77_777].1 = 99.0;
        let few = columns(&points, 1.0);
        assert!(few.len() <= 4 * 1000 + 4, "{}", few.len());
        assert!(few.contains(&points[12_345]) && few.contains(&points[77_777]));
        assert_eq!((few.first(), few.last()), (points.first(), points.last()));
        assert!(few.windows(2).all(|w| w[0].0 <= w[1].0));
    }

    #[test]
    fn few_points_stay_as_they_are() {
        let points = [(0.0, 1.0), (0.2, 2.0), (100.0, 3.0)];
        assert_eq!(columns(&points, 1.0), points);
        assert!(columns(&[], 1.0).is_empty());
    }
}
