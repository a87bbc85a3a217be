//! Counts of one engine since its start: the values of its part of the metrics page.

use crate::engine::FinishReason;
use crate::histogram::{Histogram, buckets};

/// Number of steps in the throughput average.
pub(crate) const THROUGHPUT_STEPS: u64 = 40;

/// Counters, gauges and histograms of one engine. Times are in seconds, as on the page.
#[derive(Debug, Clone)]
pub(crate) struct EngineStats {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) kv_usage: f64,
    /// Tokens per second over the last [`THROUGHPUT_STEPS`] steps; 0 when idle.
    pub(crate) throughput: f64,
    /// 1 or 2 while the weights are away.
    pub(crate) sleep_level: u8,
    /// Steps that have ended.
    pub(crate) steps: u64,
    /// Total time of requests in the front end.
    pub(crate) front_end_busy_ns: u64,
    pub(crate) preemptions: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) prompt_tokens_cached: u64,
    pub(crate) generation_tokens: u64,
    pub(crate) prefix_queries: u64,
    pub(crate) prefix_hits: u64,
    /// By [`FinishReason`] in its order.
    pub(crate) finished: [u64; FinishReason::COUNT],
    pub(crate) request_prompt_tokens: Histogram,
    pub(crate) request_generation_tokens: Histogram,
    pub(crate) iteration_tokens: Histogram,
    pub(crate) max_num_generation_tokens: Histogram,
    pub(crate) params_n: Histogram,
    pub(crate) params_max_tokens: Histogram,
    pub(crate) time_to_first_token: Histogram,
    pub(crate) inter_token_latency: Histogram,
    pub(crate) time_per_output_token: Histogram,
    pub(crate) e2e_latency: Histogram,
    pub(crate) queue_time: Histogram,
    pub(crate) inference_time: Histogram,
    pub(crate) prefill_time: Histogram,
    pub(crate) decode_time: Histogram,
    pub(crate) request_preemptions: Histogram,
    pub(crate) prefill_kv_computed: Histogram,
}

impl EngineStats {
    /// All zero, with the buckets of a server whose longest sequence is `max_model_len`.
    pub(crate) fn new(max_model_len: u32) -> Self {
        let tokens = Histogram::new(&buckets::tokens(max_model_len));
        let request = Histogram::new(buckets::REQUEST_SECONDS);
        let per_token = Histogram::new(buckets::PER_TOKEN_SECONDS);
        Self {
            running: 0,
            waiting: 0,
            kv_usage: 0.0,
            throughput: 0.0,
            sleep_level: 0,
            steps: 0,
            front_end_busy_ns: 0,
            preemptions: 0,
            prompt_tokens: 0,
            prompt_tokens_cached: 0,
            generation_tokens: 0,
            prefix_queries: 0,
            prefix_hits: 0,
            finished: [0; FinishReason::COUNT],
            request_prompt_tokens: tokens.clone(),
            request_generation_tokens: tokens.clone(),
            iteration_tokens: Histogram::new(buckets::ITERATION_TOKENS),
            max_num_generation_tokens: tokens.clone(),
            params_n: Histogram::new(buckets::PARAMS_N),
            params_max_tokens: tokens.clone(),
            time_to_first_token: Histogram::new(buckets::FIRST_TOKEN_SECONDS),
            inter_token_latency: per_token.clone(),
            time_per_output_token: per_token,
            e2e_latency: request.clone(),
            queue_time: request.clone(),
            inference_time: request.clone(),
            prefill_time: request.clone(),
            decode_time: request,
            request_preemptions: Histogram::new(buckets::PREEMPTIONS),
            prefill_kv_computed: tokens,
        }
    }
}
