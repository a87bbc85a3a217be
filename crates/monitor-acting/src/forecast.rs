//! A short-term forecast of a signal without an action: level and damped slope by least squares.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Time;

/// A forecast value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The expected mean over the window in which it is compared.
    pub mean: f64,
    /// Standard deviation of that mean.
    pub deviation: f64,
}

/// The recent past of one signal. Its size is bounded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Recent {
    points: VecDeque<(Time, f64)>,
}

/// Seconds of history used for a forecast.
const PAST_SECS: f64 = 60.0;
/// Most points kept of a signal: a minute at 4 Hz.
const MOST_POINTS: usize = 240;
/// Minimum points for a slope.
const LEAST_FOR_SLOPE: usize = 10;
/// A slope continues for this long, as the integral of an exponential decay.
const DAMPING_SECS: f64 = 15.0;

impl Recent {
    /// Adds a value. If it is earlier than the last, it replaces everything, since the clock went back.
    pub fn push(&mut self, at: Time, value: f64) {
        if self.points.back().is_some_and(|(last, _)| at < *last) {
            self.points.clear();
        }
        self.points.push_back((at, value));
        while self.points.len() > MOST_POINTS
            || self
                .points
                .front()
                .is_some_and(|(first, _)| at.secs_since(*first) > PAST_SECS)
        {
            self.points.pop_front();
        }
    }

    /// Mean of the values in the `secs` before `now`; `None` if there are none.
    pub fn mean(&self, now: Time, secs: f64) -> Option<f64> {
        let (mut sum, mut n) = (0.0, 0.0);
        for (at, value) in self.points.iter().rev() {
            if now.secs_since(*at) > secs {
                break;
            }
            sum += value;
            n += 1.0;
        }
        (n > 0.0).then(|| sum / n)
    }

    /// Continues the newest value, for a failure that has just begun.
    pub fn persist(&self) -> Option<Expectation> {
        self.points.back().map(|(_, value)| Expectation {
            mean: *value,
            deviation: 0.0,
        })
    }

    /// The mean over a window of `window_secs` that ends `ahead_secs` after the newest point, without an action, from
    /// the points since `since`. `None` with fewer than three points; with fewer than ten the level is continued. A
    /// signal that was never negative is not forecast below 0.
    ///
    /// ```
    /// use monitor_acting::{Time, forecast::Recent};
    ///
    /// let mut recent = Recent::default();
    /// for second in 0..60 {
    ///     recent.push(Time::from_secs_f64(second as f64), 100.0 + second as f64);
    /// }
    /// let ahead = recent.expect(Time::default(), 20.0, 5.0).unwrap();
    /// assert!(ahead.mean > 165.0 && ahead.mean < 180.0, "it rises on, damped: {}", ahead.mean);
    /// ```
    pub fn expect(&self, since: Time, ahead_secs: f64, window_secs: f64) -> Option<Expectation> {
        let points: Vec<(Time, f64)> = self
            .points
            .iter()
            .filter(|(at, _)| *at >= since)
            .copied()
            .collect();
        let n = points.len() as f64;
        if points.len() < 3 {
            return None;
        }
        let (now, _) = *points.last()?;
        let x = |at: Time| -now.secs_since(at);
        let mean_x = points.iter().map(|(at, _)| x(*at)).sum::<f64>() / n;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let (mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0);
        for (at, y) in &points {
            let (dx, dy) = (x(*at) - mean_x, y - mean_y);
            sxx += dx * dx;
            sxy += dx * dy;
            syy += dy * dy;
        }
        let slope = if sxx > 0.0 { sxy / sxx } else { 0.0 };
        let slope = if points.len() >= LEAST_FOR_SLOPE {
            slope
        } else {
            0.0
        };
        let residual = ((syy - slope * sxy).max(0.0) / (n - 2.0).max(1.0)).sqrt();
        // A slope within its own noise is ignored.
        let slope_deviation = if sxx > 0.0 { residual / sxx.sqrt() } else { 0.0 };
        let slope = if points.len() >= LEAST_FOR_SLOPE && slope.abs() > 2.0 * slope_deviation {
            slope
        } else {
            0.0
        };
        let level = mean_y - slope * mean_x;
        let middle = (ahead_secs - window_secs / 2.0).max(0.0);
        let damped = DAMPING_SECS * (1.0 - (-middle / DAMPING_SECS).exp());
        let least = if points.iter().all(|(_, y)| *y >= 0.0) {
            0.0
        } else {
            f64::NEG_INFINITY
        };
        // The error of a mean over a window shrinks with its points; the errors of level and slope do not.
        let in_window = (window_secs * n / PAST_SECS).max(1.0);
        let deviation = (residual * residual / in_window
            + residual * residual / n
            + slope_deviation * slope_deviation * damped * damped)
            .sqrt();
        Some(Expectation {
            mean: (level + slope * damped).max(least),
            deviation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_stays_and_noise_is_known() {
        let mut recent = Recent::default();
        for second in 0..200 {
            let noise = if second % 2 == 0 { 1.0 } else { -1.0 };
            recent.push(Time::from_secs_f64(f64::from(second)), 50.0 + noise);
        }
        let ahead = recent.expect(Time::default(), 30.0, 1.0).expect("enough points");
        assert!((ahead.mean - 50.0).abs() < 0.3, "{ahead:?}");
        assert!((0.8..1.3).contains(&ahead.deviation), "{ahead:?}");
    }

    #[test]
    fn two_points_are_not_enough_and_a_clock_that_goes_back_starts_over() {
        let mut recent = Recent::default();
        recent.push(Time::from_secs_f64(100.0), 1.0);
        recent.push(Time::from_secs_f64(101.0), 1.0);
        assert_eq!(recent.expect(Time::default(), 1.0, 1.0), None);
        recent.push(Time::from_secs_f64(102.0), 1.0);
        assert!(recent.expect(Time::default(), 1.0, 1.0).is_some());
        recent.push(Time::from_secs_f64(50.0), 1.0);
        assert_eq!(recent.expect(Time::default(), 1.0, 1.0), None);
    }

    #[test]
    fn a_falling_signal_is_not_forecast_below_zero() {
        let mut recent = Recent::default();
        for second in 0..20 {
            recent.push(Time::from_secs_f64(f64::from(second)), 20.0 - f64::from(second));
        }
        assert_eq!(
            recent
                .expect(Time::default(), 60.0, 5.0)
                .expect("enough points")
                .mean,
            0.0
        );
    }
}
