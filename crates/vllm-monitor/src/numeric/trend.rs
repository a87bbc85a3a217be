//! Level, slope and diffusion of a series: an exponentially weighted straight line, updated in constant time.

use serde::{Deserialize, Serialize};

/// A line through recent samples, with the newest at time 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    tau_secs: f64,
    samples: u64,
    // Weighted sums over samples: weights, squared weights, t, t², x, t·x.
    w: f64,
    w2: f64,
    t: f64,
    tt: f64,
    x: f64,
    tx: f64,
    last: f64,
    span_secs: f64,
    // Decayed sums of squared and of elapsed increments, around the slope at that time.
    squares: f64,
    elapsed: f64,
}

/// What a [`Trend`] knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// The line's value now, in the series' unit.
    pub level: f64,
    /// Units per second.
    pub slope: f64,
    /// Standard error of the slope if increments were independent, in units per second.
    pub slope_error: f64,
    /// Variance of the increments around the slope, in squared units per second.
    pub variance_rate: f64,
}

impl Trend {
    /// `tau_secs` is the age at which a sample's weight has fallen to 37 %.
    pub fn new(tau_secs: f64) -> Self {
        Self {
            tau_secs,
            samples: 0,
            w: 0.0,
            w2: 0.0,
            t: 0.0,
            tt: 0.0,
            x: 0.0,
            tx: 0.0,
            last: 0.0,
            span_secs: 0.0,
            squares: 0.0,
            elapsed: 0.0,
        }
    }

    /// Adds a sample taken `dt_secs` after the one before (ignored for the first).
    ///
    /// ```
    /// use vllm_monitor::numeric::trend::Trend;
    ///
    /// let mut trend = Trend::new(20.0);
    /// for second in 0..60 {
    ///     trend.add(5.0 + 0.5 * f64::from(second), 1.0);
    /// }
    /// let line = trend.line().unwrap();
    /// assert!((line.slope - 0.5).abs() < 1e-9 && (line.level - 34.5).abs() < 1e-6);
    /// assert!(line.variance_rate < 1e-9);
    /// ```
    pub fn add(&mut self, value: f64, dt_secs: f64) {
        if !value.is_finite() || (self.samples > 0 && !(dt_secs.is_finite() && dt_secs > 0.0)) {
            return;
        }
        if self.samples > 0 {
            let slope = self.line().map_or(0.0, |line| line.slope);
            let keep = (-dt_secs / self.tau_secs).exp();
            // Shift the origin of time to the new sample, then let weights decay.
            self.tt = keep * (self.tt - 2.0 * dt_secs * self.t + dt_secs * dt_secs * self.w);
            self.tx = keep * (self.tx - dt_secs * self.x);
            self.t = keep * (self.t - dt_secs * self.w);
            self.x *= keep;
            self.w *= keep;
            self.w2 *= keep * keep;
            let surprise = value - self.last - slope * dt_secs;
            self.squares = self.squares * keep + surprise * surprise;
            self.elapsed = self.elapsed * keep + dt_secs;
            self.span_secs += dt_secs;
        }
        self.w += 1.0;
        self.w2 += 1.0;
        self.x += value;
        self.last = value;
        self.samples += 1;
    }

    /// Forgets everything, for a series that began anew.
    pub fn reset(&mut self) {
        *self = Self::new(self.tau_secs);
    }

    /// Samples so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Seconds from the first sample to the newest.
    pub fn span_secs(&self) -> f64 {
        self.span_secs
    }

    /// The newest sample.
    pub fn last(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.last)
    }

    /// The line; `None` before the third sample.
    pub fn line(&self) -> Option<Line> {
        let determinant = self.w * self.tt - self.t * self.t;
        if self.samples < 3 || determinant <= 1e-12 {
            return None;
        }
        let slope = (self.w * self.tx - self.t * self.x) / determinant;
        let level = (self.x - slope * self.t) / self.w;
        let variance_rate = if self.elapsed > 0.0 { self.squares / self.elapsed } else { 0.0 };
        // A random walk seen over the effective time of the weights.
        let effective_secs = self.tau_secs.min(self.span_secs).max(1e-9);
        Some(Line {
            level,
            slope,
            slope_error: (variance_rate / effective_secs).sqrt(),
            variance_rate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn irregular_intervals_do_not_matter() {
        let mut trend = Trend::new(30.0);
        let mut at = 0.0;
        for i in 0..200 {
            let dt = 0.2 + f64::from(i % 7) * 0.3;
            at += dt;
            trend.add(100.0 - 2.0 * at, dt);
        }
        let line = trend.line().expect("many samples");
        assert!((line.slope + 2.0).abs() < 1e-6, "{line:?}");
        assert!((line.level - (100.0 - 2.0 * at)).abs() < 1e-4, "{line:?}");
    }

    #[test]
    fn diffusion_is_the_variance_per_second() {
        // Steps of ±1 every second: variance 1 per second, no drift.
        let mut trend = Trend::new(1000.0);
        let mut level = 0.0;
        let mut seed = 5_u64;
        for _ in 0..5000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            level += if seed >> 63 == 0 { 1.0 } else { -1.0 };
            trend.add(level, 1.0);
        }
        let line = trend.line().expect("many samples");
        assert!((line.variance_rate - 1.0).abs() < 0.1, "{line:?}");
    }

    #[test]
    fn too_few_samples_are_no_line() {
        let mut trend = Trend::new(10.0);
        trend.add(1.0, 0.0);
        trend.add(2.0, 1.0);
        assert_eq!(trend.line(), None);
        trend.add(f64::NAN, 1.0);
        assert_eq!(trend.samples(), 2);
    }
}
