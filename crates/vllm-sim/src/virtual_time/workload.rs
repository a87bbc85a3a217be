//! The load on a server: arrival times and lengths of requests. Everything is drawn from the seed.

use std::sync::Arc;
use std::time::Duration;

use super::server::VirtualRequest;
use crate::config::{EngineConfig, OutputLength};
use crate::error::{Error, Result};
use crate::rng::{mix2, normal, unit};
use crate::tokens::FIRST_TEXT_TOKEN;

/// When requests arrive.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Arrivals {
    /// All at the start: LoadGen's Offline scenario.
    AllAtOnce,
    /// Independent, with exponential gaps: LoadGen's Server scenario.
    Poisson {
        /// Requests per second on average.
        rate_per_s: f64,
    },
    /// At these times, in ascending order: a recorded trace.
    At(Vec<Duration>),
    /// A new one whenever one ends, with this many in flight: a closed loop.
    Closed {
        /// Requests in flight.
        concurrency: u32,
    },
}

/// Requests and their arrivals.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Seed of arrivals, lengths and prompts. The server has a seed of its own.
    pub seed: u64,
    /// When requests arrive.
    pub arrivals: Arrivals,
    /// Number of requests; for [`Arrivals::At`] an upper limit.
    pub requests: u32,
    /// Lengths of prompts. A length that exceeds the server's longest sequence is shortened to fit.
    pub prompt_tokens: OutputLength,
    /// Exact lengths of answers; `None` lets the model end them by the engine's own distribution.
    pub output_tokens: Option<OutputLength>,
    /// Length of the common prefix of all prompts, in tokens.
    pub shared_prefix_tokens: u32,
}

impl Default for Workload {
    /// 1,000 requests at 8 a second, with 512 prompt tokens and about 128 output tokens.
    fn default() -> Self {
        Self {
            seed: 0,
            arrivals: Arrivals::Poisson { rate_per_s: 8.0 },
            requests: 1000,
            prompt_tokens: OutputLength::Fixed(512),
            output_tokens: Some(OutputLength::LogNormal {
                median: 128.0,
                sigma: 0.6,
            }),
            shared_prefix_tokens: 0,
        }
    }
}

impl Workload {
    /// Rejects a workload that cannot be sent.
    ///
    /// # Errors
    /// [`Error::Config`] names the field and the error.
    pub fn validate(&self) -> Result<()> {
        let refuse = |text: &str| Err(Error::Config(format!("workload: {text}")));
        match &self.arrivals {
            Arrivals::Poisson { rate_per_s } if !(rate_per_s.is_finite() && *rate_per_s > 0.0) => {
                refuse("rate_per_s must be above 0")
            }
            Arrivals::At(times) if !times.is_sorted() => refuse("the arrival times must ascend"),
            Arrivals::Closed { concurrency: 0 } => refuse("concurrency must be at least 1"),
            _ => Ok(()),
        }
    }

    /// Arrival times; `None` for a closed loop, where they depend on the server.
    pub fn arrival_times(&self) -> Option<Vec<Duration>> {
        let count = self.requests as usize;
        match &self.arrivals {
            Arrivals::AllAtOnce => Some(vec![Duration::ZERO; count]),
            Arrivals::Poisson { rate_per_s } => {
                let mut at = 0.0;
                let times = (0..u64::from(self.requests)).map(|n| {
                    // 1 − u is never 0, so that the logarithm is finite.
                    at -= (1.0 - unit(mix2(self.seed ^ 0xA221, n))).ln() / rate_per_s;
                    Duration::from_secs_f64(at)
                });
                Some(times.collect())
            }
            Arrivals::At(times) => Some(times.iter().copied().take(count).collect()),
            Arrivals::Closed { .. } => None,
        }
    }

    /// The `n`-th request for a server with this configuration.
    pub fn request(&self, n: u32, engine: &EngineConfig) -> VirtualRequest {
        let draw = |what: u64| mix2(mix2(self.seed, what), u64::from(n));
        let longest = engine.max_model_len.saturating_sub(1).max(1);
        let prompt_len = length(self.prompt_tokens, draw(0x9801)).clamp(1, longest);
        let words = u64::from(engine.vocab_size.saturating_sub(FIRST_TEXT_TOKEN).max(1));
        let prompt: Arc<[u32]> = (0..prompt_len)
            .map(|at| {
                let from = if at < self.shared_prefix_tokens {
                    self.seed
                } else {
                    draw(0x9802)
                };
                FIRST_TEXT_TOKEN + (mix2(from, u64::from(at)) % words) as u32
            })
            .collect();
        match self.output_tokens {
            Some(lengths) => VirtualRequest::of(prompt, length(lengths, draw(0x9803)).max(1)),
            None => VirtualRequest {
                prompt,
                max_tokens: u32::MAX,
                min_tokens: 0,
                ignore_eos: false,
                seed: draw(0x9804),
            },
        }
    }
}

fn length(of: OutputLength, draw: u64) -> u32 {
    match of {
        OutputLength::Fixed(n) => n,
        OutputLength::Uniform { min, max } => {
            let span = f64::from(max.saturating_sub(min)) + 1.0;
            min + (unit(draw) * span) as u32
        }
        OutputLength::LogNormal { median, sigma } => (median * (sigma * normal(draw)).exp()).round() as u32,
    }
}
