//! Synthetic prompts with a given distribution of lengths, reproducible by their seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Dataset, Lengths, Prompt};

/// The parameters of a synthetic dataset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Synthetic {
    /// Number of prompts.
    pub samples: usize,
    /// Their lengths.
    pub lengths: Lengths,
    /// Lengths of synthetic reference answers; `None` generates none.
    pub output_lengths: Option<Lengths>,
    /// Token ids are drawn from `FIRST_ID..vocabulary`.
    pub vocabulary: i32,
    /// The same seed gives the same prompts.
    pub seed: u64,
}

/// Lower ids are special tokens in most vocabularies (padding, begin, end), which a prompt must not contain
/// by chance.
const FIRST_ID: i32 = 10;

impl Default for Synthetic {
    /// Lengths like those of news articles, and ids that are valid even in a vocabulary of a thousand tokens.
    fn default() -> Self {
        Self {
            samples: 512,
            lengths: Lengths::LogNormal {
                median: 420.0,
                sigma: 0.5,
                min: 32,
                max: 1536,
            },
            output_lengths: None,
            vocabulary: 1000,
            seed: 1,
        }
    }
}

impl Synthetic {
    /// Generates the prompts.
    pub fn build(&self) -> Dataset {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        // A separate stream, so that generating answers does not change the prompts.
        let mut answers = ChaCha8Rng::seed_from_u64(self.seed);
        answers.set_stream(1);
        let ids = |lengths: Lengths, rng: &mut ChaCha8Rng| -> Vec<i32> {
            let length = lengths.draw(rng);
            (0..length)
                .map(|_| rng.random_range(FIRST_ID..self.vocabulary))
                .collect()
        };
        let prompts = (0..self.samples).map(|_| Prompt {
            token_ids: ids(self.lengths, &mut rng),
            reference_ids: self.output_lengths.map(|lengths| ids(lengths, &mut answers)),
            ..Prompt::default()
        });
        let outputs = self
            .output_lengths
            .map_or(String::new(), |l| format!(", answers {l}"));
        Dataset {
            prompts: prompts.collect(),
            origin: format!(
                "synthetic: {} prompts, lengths {} tokens{outputs}, ids {FIRST_ID} to {}, seed {}",
                self.samples,
                self.lengths,
                self.vocabulary - 1,
                self.seed
            ),
            synthetic: true,
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

    #[test]
    fn answers_do_not_change_prompts() {
        let plain = Synthetic {
            samples: 20,
            ..Synthetic::default()
        };
        let answered = Synthetic {
            output_lengths: Some(Lengths::Fixed(7)),
            ..plain
        };
        let (plain, answered) = (plain.build(), answered.build());
        for (a, b) in plain.prompts.iter().zip(&answered.prompts) {
            assert_eq!(a.token_ids, b.token_ids);
            assert_eq!(
                (a.reference_ids.as_ref(), b.reference_ids.as_ref().map(Vec::len)),
                (None, Some(7))
            );
        }
    }
}
