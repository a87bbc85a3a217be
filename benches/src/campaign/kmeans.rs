//! Two clusters of a window of values, fitted again each minute; how far a value is from the nearer one.

use std::collections::VecDeque;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct KMeans {
    window: VecDeque<f64>,
    most: usize,
    /// Centres, and the largest distance of a fitted value from its centre.
    fitted: Option<([f64; 2], f64)>,
    since_fit: usize,
}

impl KMeans {
    pub(super) fn new(most: usize) -> Self {
        Self {
            window: VecDeque::new(),
            most,
            fitted: None,
            since_fit: 0,
        }
    }

    /// Adds a value; returns its distance from the nearer centre as a multiple of the largest one fitted, or 0 before
    /// the first fit.
    pub(super) fn add(&mut self, value: f64) -> f64 {
        let distance = self.fitted.map_or(0.0, |(centres, radius)| {
            nearest(&centres, value).1 / radius.max(1e-3 * centres[1].abs().max(1e-3))
        });
        self.window.push_back(value);
        if self.window.len() > self.most {
            self.window.pop_front();
        }
        self.since_fit += 1;
        if self.window.len() >= 60 && self.since_fit >= 60 {
            self.since_fit = 0;
            self.fitted = Some(fit(&self.window));
        }
        distance
    }
}

fn nearest(centres: &[f64; 2], value: f64) -> (usize, f64) {
    let distances = centres.map(|centre| (value - centre).abs());
    let place = usize::from(distances[1] < distances[0]);
    (place, distances[place])
}

fn fit(window: &VecDeque<f64>) -> ([f64; 2], f64) {
    let low = window.iter().copied().fold(f64::INFINITY, f64::min);
    let high = window.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut centres = [low, high];
    for _ in 0..10 {
        let mut sums = [(0.0, 0.0); 2];
        for value in window {
            let (place, _) = nearest(&centres, *value);
            sums[place].0 += value;
            sums[place].1 += 1.0;
        }
        for (centre, (sum, count)) in centres.iter_mut().zip(sums) {
            if count > 0.0 {
                *centre = sum / count;
            }
        }
    }
    let radius = window
        .iter()
        .map(|value| nearest(&centres, *value).1)
        .fold(0.0, f64::max);
    (centres, radius)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_between_two_habits_is_far_from_both() {
        let mut clusters = KMeans::new(120);
        for n in 0..120 {
            clusters.add(if n % 2 == 0 { 1.0 } else { 9.0 } + f64::from(n % 5) * 0.1);
        }
        assert!(clusters.add(1.1) <= 1.0);
        assert!(clusters.add(5.0) > 5.0);
    }
}
