//! Made-up prompts with a given distribution of lengths, the same for the same seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

use super::{Dataset, Prompt};

/// Log-normal token counts, cut at both ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lengths {
    /// Median, in tokens.
    pub median: f64,
    /// Standard deviation of the natural logarithm.
    pub sigma: f64,
    /// Shortest, in tokens.
    pub min: usize,
    /// Longest, in tokens.
    pub max: usize,
}

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Synthetic {
    /// How many prompts.
    pub samples: usize,
    /// Their lengths.
    pub lengths: Lengths,
    /// Token ids are drawn from `FIRST_ID..vocabulary`.
    pub vocabulary: i32,
    /// Same seed, same prompts.
    pub seed: u64,
}

/// Ids below are special tokens in most vocabularies (padding, begin, end), which a prompt must not hold by chance.
const FIRST_ID: i32 = 10;

impl Default for Synthetic {
    /// News-article-like lengths, and ids that even a vocabulary of a thousand tokens has.
    fn default() -> Self {
        Self {
            samples: 1024,
            lengths: Lengths {
                median: 420.0,
                sigma: 0.5,
                min: 32,
                max: 1536,
            },
            vocabulary: 1000,
            seed: 1,
        }
    }
}

impl Synthetic {
    /// Draws the prompts.
    pub fn build(&self) -> Dataset {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let Lengths {
            median,
            sigma,
            min,
            max,
        } = self.lengths;
        let lengths = LogNormal::new(median.ln(), sigma).expect("sigma is finite and not negative");
        let prompts = (0..self.samples)
            .map(|_| {
                let length = (lengths.sample(&mut rng).round() as usize).clamp(min, max);
                let token_ids = (0..length)
                    .map(|_| rng.random_range(FIRST_ID..self.vocabulary))
                    .collect::<Vec<i32>>();
                Prompt {
                    token_ids,
                    ..Prompt::default()
                }
            })
            .collect();
        Dataset {
            origin: format!(
                "synthetic: {} prompts, log-normal lengths (median {median} tokens, sigma {sigma}, {min} to {max}), \
                 ids {FIRST_ID} to {}, seed {}",
                self.samples,
                self.vocabulary - 1,
                self.seed
            ),
            synthetic: true,
            prompts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_prompts_within_bounds() {
        let made = Synthetic {
            samples: 200,
            seed: 7,
            ..Synthetic::default()
        };
        assert_eq!(made.build(), made.build());
        assert_ne!(
            made.build().prompts,
            Synthetic { seed: 8, ..made }.build().prompts
        );
        let lengths: Vec<usize> = made.build().prompts.iter().map(|p| p.token_ids.len()).collect();
        assert!(lengths.iter().all(|n| (32..=1536).contains(n)));
        let mut sorted = lengths.clone();
        sorted.sort_unstable();
        assert!((300..=560).contains(&sorted[100]), "median {}", sorted[100]);
    }
}
