//! The series of a run, one cell per second.

use std::ops::Range;

use super::{Column, Span};

/// The series of a run. Second `i` covers `start_ns + i s .. start_ns + (i + 1) s` on the run's clock.
///
/// Gauges are the mean over the second, counters what they grew by in it. Series of several engines are added, except
/// ratios, which are averaged; series of several GPUs are averaged unless their comment says otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PerSecond {
    /// Beginning of second 0, in nanoseconds on the run's clock.
    pub start_ns: i64,
    /// Number of seconds.
    pub seconds: usize,

    /// Output tokens that reached the client.
    pub output_tokens: Column,
    /// Requests issued and not finished, from the client's own events: exact.
    pub in_flight: Column,
    /// Requests issued and not yet sent.
    pub client_queue: Column,
    /// Cores that the client's process used.
    pub client_cpu_cores: Column,

    /// `vllm:num_requests_running`.
    pub running: Column,
    /// `vllm:num_requests_waiting_by_reason{reason="capacity"}`; `vllm:num_requests_waiting` for servers without it.
    pub waiting_for_capacity: Column,
    /// `vllm:num_requests_waiting_by_reason{reason="deferred"}`.
    pub waiting_deferred: Column,
    /// `vllm:kv_cache_usage_perc`, 0 to 1.
    pub kv_cache_usage_ratio: Column,
    /// Growth of `vllm:num_preemptions_total`.
    pub preemptions: Column,
    /// Growth of `vllm:iteration_tokens_total_count`: engine steps.
    pub engine_steps: Column,
    /// Growth of `vllm:iteration_tokens_total_sum`: tokens computed by those steps.
    pub step_tokens: Column,
    /// Prompt tokens computed, so without those found in the prefix cache.
    pub prompt_tokens_computed: Column,
    /// Growth of `vllm:generation_tokens_total`.
    pub generation_tokens: Column,
    /// Growth of `vllm:estimated_flops_per_gpu_total`.
    pub flops_per_gpu: Column,
    /// Growth of `vllm:estimated_read_bytes_per_gpu_total` and its write counterpart together.
    pub memory_bytes_per_gpu: Column,
    /// Cores that one API-server process used.
    pub api_server_cpu_cores: Column,
    /// Time that our own scrape of the metrics page took, in seconds.
    pub scrape_secs: Column,

    /// `gpu_utilization_ratio`: share of the second in which a kernel ran, 0 to 1.
    pub gpu_utilization_ratio: Column,
    /// Growth of `gpu_throttle_seconds_total` for power cap, thermal and power brake reasons; the largest of all GPUs.
    pub throttled_secs: Column,
    /// SM clock over its maximum; the smallest of all GPUs.
    pub sm_clock_ratio: Column,

    /// Bytes on the busiest network interface over what its link carries, 0 to 1.
    pub network_utilization_ratio: Column,
    /// TCP segments sent again.
    pub tcp_retransmits: Column,
}

impl PerSecond {
    /// The seconds that lie entirely inside a span.
    ///
    /// ```
    /// use run_diagnosis::input::{PerSecond, Span};
    /// let seconds = PerSecond { start_ns: 0, seconds: 10, ..PerSecond::default() };
    /// let span = Span { from_ns: 1_500_000_000, to_ns: 4_000_000_000 };
    /// assert_eq!(seconds.inside(span), 2..4);
    /// ```
    pub fn inside(&self, span: Span) -> Range<usize> {
        const SECOND: i64 = 1_000_000_000;
        let second = |ns: i64| usize::try_from(ns).unwrap_or(0).min(self.seconds);
        let from = second((span.from_ns - self.start_ns + SECOND - 1).div_euclid(SECOND));
        let to = second((span.to_ns - self.start_ns).div_euclid(SECOND));
        from..to.max(from)
    }

    /// When a second begins.
    pub fn begins_ns(&self, second: usize) -> i64 {
        self.start_ns + second as i64 * 1_000_000_000
    }
}
