//! Arrivals with a rate that changes over time, and lengths.

use super::engine::Request;
use super::rng::Rng;

/// What requests are like.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    pub prompt_median: f64,
    pub prompt_sigma: f64,
    pub output_median: f64,
    pub output_sigma: f64,
}

impl Lengths {
    pub fn mean_prompt(&self) -> f64 {
        self.prompt_median * (self.prompt_sigma * self.prompt_sigma / 2.0).exp()
    }

    pub fn mean_output(&self) -> f64 {
        self.output_median * (self.output_sigma * self.output_sigma / 2.0).exp()
    }

    /// Mean tokens that a running request holds: outputs seen while running are longer than the mean of all.
    pub fn mean_context(&self) -> f64 {
        self.mean_prompt() + self.mean_output() / 2.0 * (self.output_sigma * self.output_sigma).exp()
    }
}

/// A Poisson stream whose rate is a function of time, by thinning.
pub struct Arrivals<F> {
    rate: F,
    most: f64,
    lengths: Lengths,
    rng: Rng,
    now_secs: f64,
    end_secs: f64,
}

impl<F: Fn(f64) -> f64> Arrivals<F> {
    /// `most` is a bound on the rate.
    pub fn new(rate: F, most: f64, lengths: Lengths, end_secs: f64, seed: u64) -> Self {
        Self {
            rate,
            most,
            lengths,
            rng: Rng::new(seed ^ 0xA881),
            now_secs: 0.0,
            end_secs,
        }
    }
}

impl<F: Fn(f64) -> f64> Iterator for Arrivals<F> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            self.now_secs += self.rng.exponential(self.most);
            if self.now_secs > self.end_secs {
                return None;
            }
            if self.rng.unit() * self.most <= (self.rate)(self.now_secs) {
                let l = self.lengths;
                return Some(Request {
                    arrival_secs: self.now_secs,
                    prompt: self
                        .rng
                        .log_normal(l.prompt_median, l.prompt_sigma)
                        .round()
                        .max(1.0) as u32,
                    output: self
                        .rng
                        .log_normal(l.output_median, l.output_sigma)
                        .round()
                        .max(1.0) as u32,
                });
            }
        }
    }
}
