//! Lengths of synthetic prompts and answers: four common distributions, written as short texts.

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal, Normal};

/// A distribution of token counts. Written as `fixed:N`, `uniform:MIN,MAX`, `normal:MEAN,STD,MIN,MAX` or
/// `lognormal:MEDIAN,SIGMA,MIN,MAX`; the last two are clamped to their bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lengths {
    /// Always the same.
    Fixed(usize),
    /// Each length from `min` to `max` with equal probability.
    Uniform {
        /// Shortest, in tokens.
        min: usize,
        /// Longest, in tokens.
        max: usize,
    },
    /// Normally distributed around the mean.
    Normal {
        /// Mean, in tokens.
        mean: f64,
        /// Standard deviation, in tokens.
        std_dev: f64,
        /// Shortest, in tokens.
        min: usize,
        /// Longest, in tokens.
        max: usize,
    },
    /// Many short ones and a long tail, as real prompts have.
    LogNormal {
        /// Median, in tokens.
        median: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// Shortest, in tokens.
        min: usize,
        /// Longest, in tokens.
        max: usize,
    },
}

/// What is wrong with a distribution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "lengths {text:?}: {reason}; write fixed:N, uniform:MIN,MAX, normal:MEAN,STD,MIN,MAX or \
     lognormal:MEDIAN,SIGMA,MIN,MAX, in tokens"
)]
pub struct LengthsError {
    text: String,
    reason: &'static str,
}

impl Lengths {
    /// Refuses lengths that cannot be drawn: zero lengths, or bounds in the wrong order.
    ///
    /// # Errors
    /// [`LengthsError`] names the distribution and the problem.
    pub fn check(self) -> Result<Self, LengthsError> {
        let wrong = |reason| {
            Err(LengthsError {
                text: self.to_string(),
                reason,
            })
        };
        let (min, max) = self.bounds();
        if min == 0 {
            return wrong("the shortest must be at least 1");
        }
        if min > max {
            return wrong("the shortest is longer than the longest");
        }
        if max > 1 << 20 {
            return wrong("more than a million tokens");
        }
        match self {
            Self::Normal { mean, std_dev, .. }
                if !(mean.is_finite() && std_dev.is_finite() && std_dev >= 0.0) =>
            {
                wrong("the mean must be a number and the standard deviation one that is not negative")
            }
            Self::LogNormal { median, sigma, .. }
                if !(median.is_finite() && median > 0.0 && sigma.is_finite() && sigma >= 0.0) =>
            {
                wrong("the median must be positive and sigma not negative")
            }
            _ => Ok(self),
        }
    }

    /// Shortest and longest.
    pub fn bounds(self) -> (usize, usize) {
        match self {
            Self::Fixed(n) => (n, n),
            Self::Uniform { min, max } | Self::Normal { min, max, .. } | Self::LogNormal { min, max, .. } => {
                (min, max)
            }
        }
    }

    /// Draws one length. Lengths that [`Lengths::check`] refuses are clamped to the nearest bound.
    pub(super) fn draw(self, rng: &mut ChaCha8Rng) -> usize {
        let (min, max) = self.bounds();
        let free = match self {
            Self::Fixed(n) => return n,
            Self::Uniform { .. } => {
                return if min < max {
                    rng.random_range(min..=max)
                } else {
                    min
                };
            }
            Self::Normal { mean, std_dev, .. } => Normal::new(mean, std_dev).map(|d| d.sample(rng)),
            Self::LogNormal { median, sigma, .. } => {
                return LogNormal::new(median.ln(), sigma).map_or(min, |d| cut(d.sample(rng), min, max));
            }
        };
        free.map_or(min, |x| cut(x, min, max))
    }
}

/// The whole number nearest to `x` within the bounds.
fn cut(x: f64, min: usize, max: usize) -> usize {
    // A negative number becomes 0 here, and is then raised to the shortest.
    (x.round() as usize).max(min).min(max.max(min))
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "fixed:{n}"),
            Self::Uniform { min, max } => write!(f, "uniform:{min},{max}"),
            Self::Normal {
                mean,
                std_dev,
                min,
                max,
            } => write!(f, "normal:{mean},{std_dev},{min},{max}"),
            Self::LogNormal {
                median,
                sigma,
                min,
                max,
            } => write!(f, "lognormal:{median},{sigma},{min},{max}"),
        }
    }
}

impl FromStr for Lengths {
    type Err = LengthsError;

    fn from_str(text: &str) -> Result<Self, LengthsError> {
        let wrong = |reason| LengthsError {
            text: text.to_owned(),
            reason,
        };
        let (name, numbers) = text
            .split_once(':')
            .ok_or_else(|| wrong("no name of a distribution"))?;
        let numbers: Vec<&str> = numbers.split(',').map(str::trim).collect();
        let whole = |at: usize| {
            numbers[at]
                .parse::<usize>()
                .map_err(|_| wrong("a length is not a whole number"))
        };
        let real = |at: usize| numbers[at].parse::<f64>().map_err(|_| wrong("not a number"));
        let lengths = match (name.trim(), numbers.len()) {
            ("fixed", 1) => Self::Fixed(whole(0)?),
            ("uniform", 2) => Self::Uniform {
                min: whole(0)?,
                max: whole(1)?,
            },
            ("normal", 4) => Self::Normal {
                mean: real(0)?,
                std_dev: real(1)?,
                min: whole(2)?,
                max: whole(3)?,
            },
            ("lognormal", 4) => Self::LogNormal {
                median: real(0)?,
                sigma: real(1)?,
                min: whole(2)?,
                max: whole(3)?,
            },
            ("fixed" | "uniform" | "normal" | "lognormal", _) => {
                return Err(wrong("the wrong number of values"));
            }
            _ => return Err(wrong("no such distribution")),
        };
        lengths.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn texts_and_back() {
        for text in [
            "fixed:512",
            "uniform:16,2048",
            "normal:512,64.5,1,4096",
            "lognormal:420,0.5,32,1536",
        ] {
            assert_eq!(text.parse::<Lengths>().unwrap().to_string(), text);
        }
        for (text, told) in [
            ("512", "no name"),
            ("zipf:1", "no such"),
            ("fixed:0", "at least 1"),
            ("fixed:-1", "whole number"),
            ("uniform:5", "number of values"),
            ("uniform:5,4", "longer than the longest"),
            ("normal:5,-1,1,9", "not negative"),
            ("lognormal:0,1,1,9", "positive"),
            ("lognormal:x,1,1,9", "not a number"),
            ("fixed:9999999", "million"),
        ] {
            let error = text.parse::<Lengths>().unwrap_err().to_string();
            assert!(
                error.contains(told) && error.contains("lognormal:MEDIAN"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn draws_lie_within_and_around() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (text, middle) in [
            ("fixed:100", 100.0),
            ("uniform:50,150", 100.0),
            ("normal:100,20,10,400", 100.0),
            ("lognormal:100,0.3,10,400", 104.6),
        ] {
            let lengths: Lengths = text.parse().unwrap();
            let (min, max) = lengths.bounds();
            let drawn: Vec<usize> = (0..4000).map(|_| lengths.draw(&mut rng)).collect();
            assert!(drawn.iter().all(|n| (min..=max).contains(n)), "{text}");
            let mean = drawn.iter().sum::<usize>() as f64 / 4000.0;
            assert!((mean - middle).abs() < 3.0, "{text}: mean {mean}");
        }
    }
}
