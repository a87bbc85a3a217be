//! The `vllm:` families of a 0.32 page in its order, each with its value in the engine.

use crate::engine::{EngineStats, FinishReason};
use crate::histogram::Histogram;

/// Reads one number from an engine's counts.
pub(crate) type Read = fn(&EngineStats) -> f64;

/// Where the samples of a family come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// One gauge per engine.
    Gauge(Read),
    /// One gauge per engine and value of a further label.
    GaugeBy(&'static str, &'static [(&'static str, Read)]),
    /// One counter per engine; the name is given without `_total`.
    Counter(Read),
    /// One counter per engine and value of a further label.
    CounterBy(&'static str, &'static [(&'static str, Read)]),
    /// The counter of rejected requests, which has no engine label.
    Rejections,
    /// One histogram per engine.
    Histogram(fn(&EngineStats) -> &Histogram),
    /// The constant 1 whose labels describe the KV cache.
    CacheConfig,
}

/// A family: name, help text, source.
pub(crate) type Family = (&'static str, &'static str, Source);

use Source::{CacheConfig, Counter, CounterBy, Gauge, GaugeBy, Histogram as Histo, Rejections};

const ZERO: Read = |_| 0.0;

/// All of them.
pub(crate) const FAMILIES: &[Family] = &[
    (
        "vllm:estimated_flops_per_gpu",
        "Operations per GPU by the model's arithmetic; not simulated, stays 0.",
        Counter(ZERO),
    ),
    (
        "vllm:estimated_read_bytes_per_gpu",
        "Bytes read per GPU by the model's arithmetic; not simulated, stays 0.",
        Counter(ZERO),
    ),
    (
        "vllm:estimated_write_bytes_per_gpu",
        "Bytes written per GPU by the model's arithmetic; not simulated, stays 0.",
        Counter(ZERO),
    ),
    (
        "vllm:num_requests_running",
        "Requests in the batch.",
        Gauge(|s| s.running as f64),
    ),
    (
        "vllm:num_requests_waiting",
        "Requests in the queue.",
        Gauge(|s| s.waiting as f64),
    ),
    (
        "vllm:num_requests_waiting_by_reason",
        "Requests in the queue, by what they wait for.",
        GaugeBy(
            "reason",
            &[("capacity", |s| s.waiting as f64), ("deferred", ZERO)],
        ),
    ),
    (
        "vllm:engine_sleep_state",
        "1 for the state the engine is in.",
        GaugeBy(
            "sleep_state",
            &[
                ("awake", |s| f64::from(u8::from(s.sleep_level == 0))),
                ("weights_offloaded", |s| f64::from(u8::from(s.sleep_level == 1))),
                ("discard_all", |s| f64::from(u8::from(s.sleep_level == 2))),
            ],
        ),
    ),
    (
        "vllm:kv_cache_usage_perc",
        "Share of KV blocks in use, 0 to 1.",
        Gauge(|s| s.kv_usage),
    ),
    (
        "vllm:prefix_cache_queries",
        "Tokens looked up in the prefix cache.",
        Counter(|s| s.prefix_queries as f64),
    ),
    (
        "vllm:prefix_cache_hits",
        "Tokens found in the prefix cache.",
        Counter(|s| s.prefix_hits as f64),
    ),
    (
        "vllm:external_prefix_cache_queries",
        "Tokens looked up in another server's cache; none here.",
        Counter(ZERO),
    ),
    (
        "vllm:external_prefix_cache_hits",
        "Tokens found in another server's cache; none here.",
        Counter(ZERO),
    ),
    (
        "vllm:mm_cache_queries",
        "Items looked up in the multi-modal cache; none here.",
        Counter(ZERO),
    ),
    (
        "vllm:mm_cache_hits",
        "Items found in the multi-modal cache; none here.",
        Counter(ZERO),
    ),
    (
        "vllm:num_preemptions",
        "Times a running request was put back.",
        Counter(|s| s.preemptions as f64),
    ),
    (
        "vllm:prompt_tokens",
        "Prompt tokens of requests that got their first token.",
        Counter(|s| s.prompt_tokens as f64),
    ),
    (
        "vllm:prompt_tokens_by_source",
        "Prompt tokens by where their keys and values came from.",
        CounterBy(
            "source",
            &[
                ("local_compute", |s| {
                    (s.prompt_tokens - s.prompt_tokens_cached) as f64
                }),
                ("local_cache_hit", |s| s.prompt_tokens_cached as f64),
                ("external_kv_transfer", ZERO),
            ],
        ),
    ),
    (
        "vllm:prompt_tokens_cached",
        "Prompt tokens that needed no compute.",
        Counter(|s| s.prompt_tokens_cached as f64),
    ),
    (
        "vllm:prompt_tokens_cached_by_source",
        "Prompt tokens that needed no compute, by the cache that had them.",
        CounterBy(
            "source",
            &[
                ("device", |s| s.prompt_tokens_cached as f64),
                ("host", ZERO),
                ("p2p", ZERO),
                ("disk", ZERO),
                ("external_unspecified", ZERO),
            ],
        ),
    ),
    (
        "vllm:generation_tokens",
        "Tokens generated.",
        Counter(|s| s.generation_tokens as f64),
    ),
    (
        "vllm:request_success",
        "Requests that ended, by why they did.",
        CounterBy(
            "finished_reason",
            &[
                ("stop", |s| s.finished[FinishReason::Stop as usize] as f64),
                ("length", |s| s.finished[FinishReason::Length as usize] as f64),
                ("abort", |s| s.finished[FinishReason::Abort as usize] as f64),
                ("error", ZERO),
                ("repetition", ZERO),
            ],
        ),
    ),
    (
        "vllm:admission_rejections",
        "Requests refused at admission, by the limit they met.",
        Rejections,
    ),
    (
        "vllm:request_prompt_tokens",
        "Prompt tokens of a finished request.",
        Histo(|s| &s.request_prompt_tokens),
    ),
    (
        "vllm:request_generation_tokens",
        "Tokens generated by a finished request.",
        Histo(|s| &s.request_generation_tokens),
    ),
    (
        "vllm:iteration_tokens_total",
        "Tokens of one engine step that had output.",
        Histo(|s| &s.iteration_tokens),
    ),
    (
        "vllm:request_max_num_generation_tokens",
        "Longest output among a request's choices.",
        Histo(|s| &s.max_num_generation_tokens),
    ),
    (
        "vllm:request_params_n",
        "Choices a request asked for.",
        Histo(|s| &s.params_n),
    ),
    (
        "vllm:request_params_max_tokens",
        "Output tokens a request allowed.",
        Histo(|s| &s.params_max_tokens),
    ),
    (
        "vllm:time_to_first_token_seconds",
        "From arrival to the first token.",
        Histo(|s| &s.time_to_first_token),
    ),
    (
        "vllm:inter_token_latency_seconds",
        "From one token of a request to its next.",
        Histo(|s| &s.inter_token_latency),
    ),
    (
        "vllm:request_time_per_output_token_seconds",
        "Mean time per token after a request's first.",
        Histo(|s| &s.time_per_output_token),
    ),
    (
        "vllm:e2e_request_latency_seconds",
        "From arrival to the last token.",
        Histo(|s| &s.e2e_latency),
    ),
    (
        "vllm:request_queue_time_seconds",
        "From arrival to the first scheduling.",
        Histo(|s| &s.queue_time),
    ),
    (
        "vllm:request_inference_time_seconds",
        "From the first scheduling to the last token.",
        Histo(|s| &s.inference_time),
    ),
    (
        "vllm:request_prefill_time_seconds",
        "From the first scheduling to the first token.",
        Histo(|s| &s.prefill_time),
    ),
    (
        "vllm:request_decode_time_seconds",
        "From the first token to the last.",
        Histo(|s| &s.decode_time),
    ),
    (
        "vllm:request_num_preemptions",
        "Times a finished request was put back.",
        Histo(|s| &s.request_preemptions),
    ),
    (
        "vllm:request_prefill_kv_computed_tokens",
        "Prompt tokens a finished request had to compute.",
        Histo(|s| &s.prefill_kv_computed),
    ),
    (
        "vllm:cache_config_info",
        "How the KV cache is laid out; always 1.",
        CacheConfig,
    ),
];

/// Families of the recorded page that the simulator lacks, with the reason.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "python_gc_objects_collected_total",
        "the simulator is no Python process",
    ),
    (
        "python_gc_objects_uncollectable_total",
        "the simulator is no Python process",
    ),
    (
        "python_gc_collections_total",
        "the simulator is no Python process",
    ),
    ("python_info", "the simulator is no Python process"),
];
