//! One request in the scheduler, and its answer: a pure function of seed and prompt.

use std::sync::Arc;

use super::blocks::BlockId;
use super::{FinishReason, Nanos, Request, Timing};
use crate::config::{EngineConfig, OutputLength};
use crate::rng::{hash_tokens, mix2, normal, unit};
use crate::tokens::{EOS_TOKEN, FIRST_TEXT_TOKEN};

/// State of an unfinished request.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) serial: u32,
    pub(crate) route: u64,
    pub(crate) prompt: Arc<[u32]>,
    reference: Option<Arc<[u32]>>,
    answer_seed: u64,
    vocab_size: u32,
    /// Tokens to generate, and the finish reason of the last one.
    pub(crate) target: u32,
    pub(crate) reason: FinishReason,
    pub(crate) max_tokens: u32,
    pub(crate) generated: u32,
    /// Tokens with keys and values in the cache.
    pub(crate) computed: u32,
    pub(crate) blocks: Vec<BlockId>,
    /// Content hashes of the full blocks so far; empty without prefix caching.
    pub(crate) hashes: Vec<u64>,
    pub(crate) cached_prompt_tokens: u32,
    pub(crate) preemptions: u32,
    /// It arrived during a pause that waits for earlier requests.
    pub(crate) held: bool,
    pub(crate) timing: Timing,
}

impl Sequence {
    pub(crate) fn new(
        config: &EngineConfig,
        serial: u32,
        request: Request,
        now: Nanos,
        queued: Nanos,
    ) -> Self {
        let prompt_len = request.prompt.len() as u32;
        let room = config.max_model_len.saturating_sub(prompt_len).max(1);
        let max_tokens = request.max_tokens.clamp(1, room);
        let answer_seed = mix2(hash_tokens(config.seed, &request.prompt), request.seed);
        let own_length = match (&request.reference, config.output_length) {
            (Some(reference), _) => reference.len() as u32,
            (None, OutputLength::Fixed(n)) => n,
            (None, OutputLength::Uniform { min, max }) => {
                min + (unit(mix2(answer_seed, 0)) * f64::from(max - min + 1)) as u32
            }
            (None, OutputLength::LogNormal { median, sigma }) => {
                (median * (sigma * normal(mix2(answer_seed, 0))).exp()).round() as u32
            }
        };
        let own_length = own_length.max(request.min_tokens).max(1);
        let (target, reason) = if !request.ignore_eos && own_length <= max_tokens {
            (own_length, FinishReason::Stop)
        } else {
            (max_tokens, FinishReason::Length)
        };
        Self {
            serial,
            route: request.route,
            prompt: request.prompt,
            reference: request.reference,
            answer_seed,
            vocab_size: config.vocab_size,
            target,
            reason,
            max_tokens,
            generated: 0,
            computed: 0,
            blocks: Vec::new(),
            hashes: Vec::new(),
            cached_prompt_tokens: 0,
            preemptions: 0,
            held: false,
            timing: Timing {
                arrival: now,
                queued,
                ..Timing::default()
            },
        }
    }

    /// Prompt and output so far.
    pub(crate) fn len(&self) -> u32 {
        self.prompt.len() as u32 + self.generated
    }

    /// The `index`-th generated token. A model that ends on its own marks its last token.
    pub(crate) fn output_token(&self, index: u32) -> u32 {
        if let Some(&token) = self.reference.as_deref().and_then(|r| r.get(index as usize)) {
            return token;
        }
        if self.reason == FinishReason::Stop && index + 1 == self.target {
            return EOS_TOKEN;
        }
        let draw = mix2(self.answer_seed, u64::from(index) + 1);
        FIRST_TEXT_TOKEN + (draw % u64::from(self.vocab_size - FIRST_TEXT_TOKEN)) as u32
    }

    /// Extends the content hashes to every full block of the current tokens.
    pub(crate) fn hash_full_blocks(&mut self, block_size: u32) {
        let full = self.len() / block_size;
        while (self.hashes.len() as u32) < full {
            let index = self.hashes.len() as u32;
            let parent = self.hashes.last().copied().unwrap_or(0);
            let hash = (index * block_size..(index + 1) * block_size)
                .fold(mix2(parent, 0xB10C), |hash, at| {
                    mix2(hash, u64::from(self.token_at(at)))
                });
            self.hashes.push(hash);
        }
    }

    fn token_at(&self, at: u32) -> u32 {
        match self.prompt.get(at as usize) {
            Some(&token) => token,
            None => self.output_token(at - self.prompt.len() as u32),
        }
    }
}
