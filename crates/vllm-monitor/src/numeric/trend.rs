//! Level, slope and diffusion of a series: an exponentially weighted straight line, updated in constant time.

use serde::{Deserialize, Serialize};

/// A line through recent samples, with the newest at time 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    tau_secs: f64,
    samples: u64,
    // Weighted sums over samples: weights, t, t², x, t·x.
    w: f64,
    t: f64,
    tt: f64,
    x: f64,
    tx: f64,
    last: f64,
    span_secs: f64,
    /// The block of samples under way; mean and mean age of the one before.
    block: Block,
    last_block: Option<(f64, f64)>,
    // Decayed sums of squared and of elapsed increments between blocks, around the slope at that time.
    squares: f64,
    elapsed: f64,
}

/// Samples of half a time constant. Between their means, noise that comes and goes at every sample hardly shows, while
/// a level that wanders does.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Block {
    secs: f64,
    sum: f64,
    ages: f64,
    samples: f64,
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
    /// How far the level wanders around the slope, in squared units per second.
    pub variance_rate: f64,
    /// Mean age of the samples, in seconds: a line with the same mean and a slope less by 1 is lower now by this.
    pub age_secs: f64,
}

impl Trend {
    /// `tau_secs` is the age at which a sample's weight has fallen to 37 %.
    pub fn new(tau_secs: f64) -> Self {
        Self {
            tau_secs,
            samples: 0,
            w: 0.0,
            t: 0.0,
            tt: 0.0,
            x: 0.0,
            tx: 0.0,
            last: 0.0,
            span_secs: 0.0,
            block: Block::default(),
            last_block: None,
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
            let keep = (-dt_secs / self.tau_secs).exp();
            // Shift the origin of time to the new sample, then let weights decay.
            self.tt = keep * (self.tt - 2.0 * dt_secs * self.t + dt_secs * dt_secs * self.w);
            self.tx = keep * (self.tx - dt_secs * self.x);
            self.t = keep * (self.t - dt_secs * self.w);
            self.x *= keep;
            self.w *= keep;
            self.span_secs += dt_secs;
        }
        self.wander(value, if self.samples > 0 { dt_secs } else { 0.0 });
        self.w += 1.0;
        self.x += value;
        self.last = value;
        self.samples += 1;
    }

    fn wander(&mut self, value: f64, dt_secs: f64) {
        let block = &mut self.block;
        block.secs += dt_secs;
        block.ages += block.samples * dt_secs;
        block.sum += value;
        block.samples += 1.0;
        if let Some((_, age)) = &mut self.last_block {
            *age += dt_secs;
        }
        if block.secs < self.tau_secs / 2.0 {
            return;
        }
        let Block {
            sum, ages, samples, ..
        } = std::mem::take(block);
        let (mean, age) = (sum / samples, ages / samples);
        if let Some((before, before_age)) = self.last_block.replace((mean, age)) {
            let secs = before_age - age;
            let slope = self.line().map_or(0.0, |line| line.slope);
            let surprise = mean - before - slope * secs;
            let keep = (-secs / (6.0 * self.tau_secs)).exp();
            // The means of two neighbouring blocks of a random walk differ by two thirds of what their middles do.
            self.squares = self.squares * keep + 1.5 * surprise * surprise;
            self.elapsed = self.elapsed * keep + secs;
        }
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
        let variance_rate = if self.elapsed > 0.0 {
            self.squares / self.elapsed
        } else {
            0.0
        };
        // A random walk seen over the effective time of the weights.
        let effective_secs = self.tau_secs.min(self.span_secs).max(1e-9);
        Some(Line {
            level,
            slope,
            slope_error: (variance_rate / effective_secs).sqrt(),
            variance_rate,
            age_secs: -self.t / self.w,
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
        let mut trend = Trend::new(20.0);
        let mut level = 0.0;
        let mut seed = 5_u64;
        let mut rates = Vec::new();
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            level += if seed >> 63 == 0 { 1.0 } else { -1.0 };
            trend.add(level, 1.0);
            rates.extend(trend.line().map(|line| line.variance_rate));
        }
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((mean - 1.0).abs() < 0.25, "{mean}");
    }

    #[test]
    fn noise_around_a_level_is_not_wandering() {
        let mut trend = Trend::new(20.0);
        let mut seed = 5_u64;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            trend.add(if seed >> 63 == 0 { 1.0 } else { -1.0 }, 1.0);
        }
        // Increments from sample to sample would have said 2.
        let line = trend.line().expect("many samples");
        assert!(line.variance_rate < 0.1, "{line:?}");
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
