//! How answers are generated: the benchmark's rules, overridden by flags.

use mlperf_accuracy::{AnswerFormat, Measure};
use mlperf_loadgen::Mode;
use mlperf_rules::{BenchmarkSpec, Sampling};
use vllm_client::RequestBody;

/// Sampling parameters of every request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Generation {
    rules: Sampling,
    /// The text must contain the special tokens, which delimit the answer.
    special_tokens: bool,
    /// Longest answer according to the rules.
    pub(crate) rules_max_tokens: u32,
    /// Longest answer.
    pub(crate) max_tokens: u32,
}

impl Generation {
    pub(super) fn new(benchmark: &BenchmarkSpec, mode: Mode, max_tokens: Option<u32>) -> Self {
        let rules_max_tokens = benchmark.sampling.max_tokens_in(mode);
        Self {
            rules_max_tokens,
            max_tokens: max_tokens.unwrap_or(rules_max_tokens),
            special_tokens: Measure::of_benchmark(&benchmark.loadgen_name)
                == Some(Measure::ExactMatch(AnswerFormat::Channels)),
            rules: benchmark.sampling.clone(),
        }
    }

    /// Writes the parameters into a request body.
    pub(crate) fn apply(&self, body: RequestBody) -> RequestBody {
        let mut body = body
            .max_tokens(self.max_tokens)
            .min_tokens(self.rules.min_tokens.min(self.max_tokens))
            .temperature(self.rules.temperature)
            .top_p(self.rules.top_p);
        if let Some(top_k) = self.rules.top_k.and_then(|top_k| i32::try_from(top_k).ok()) {
            body = body.top_k(top_k);
        }
        if self.special_tokens {
            body = body.field("skip_special_tokens", false);
        }
        if let Some(seed) = self.rules.seed.and_then(|seed| i64::try_from(seed).ok()) {
            body = body.seed(seed);
        }
        body
    }
}
