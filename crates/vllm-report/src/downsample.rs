//! Reduces samples without losing a spike: keeps first, lowest, highest and last of each pixel column.

/// A sample: nanoseconds and value.
pub(crate) type Sample = (i64, f64);

/// Reduces samples (times ascending) to at most four per column of `column_ns`, keeping the extremes of each.
///
/// A series with no more samples than that is returned unchanged.
pub(crate) fn columns(samples: &[Sample], column_ns: i64) -> Vec<Sample> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Vec::new();
    };
    let columns = (last.0 - first.0) / column_ns.max(1) + 1;
    if i64::try_from(samples.len()).is_ok_and(|n| n <= columns * 4) {
        return samples.to_vec();
    }
    let number = |sample: &Sample| (sample.0 - first.0) / column_ns.max(1);
    let mut out: Vec<Sample> = Vec::new();
    let mut start = 0;
    while start < samples.len() {
        let mut end = start + 1;
        while end < samples.len() && number(&samples[end]) == number(&samples[start]) {
            end += 1;
        }
        push_extremes(&samples[start..end], &mut out);
        start = end;
    }
    out
}

fn push_extremes(column: &[Sample], out: &mut Vec<Sample>) {
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
        let mut samples: Vec<Sample> = (0..100_000).map(|i| (i, 5.0)).collect();
        samples[12_345].1 = -3.0;
        samples[77_777].1 = 99.0;
        let few = columns(&samples, 100);
        assert!(few.len() <= 4 * 1000, "{}", few.len());
        assert!(few.contains(&samples[12_345]) && few.contains(&samples[77_777]));
        assert_eq!((few.first(), few.last()), (samples.first(), samples.last()));
        assert!(few.windows(2).all(|w| w[0].0 < w[1].0));
    }

    #[test]
    fn few_points_stay_as_they_are() {
        let samples = [(0, 1.0), (1, 2.0), (100, 3.0)];
        assert_eq!(columns(&samples, 1), samples);
        assert!(columns(&[], 1).is_empty());
    }
}
