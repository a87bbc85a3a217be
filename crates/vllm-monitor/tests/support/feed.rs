//! Makes snapshots of a generated engine, by the names that a real page of metrics has.

use vllm_monitor::snapshot::{OwnRequests, SeriesRef};
use vllm_monitor::{Probe, ProbeOutcome, Signal, Snapshot, SnapshotBuilder, StaleAfter, Time};

use super::engine::{Engine, Stats};

type Value = fn(&Stats) -> f64;

const SERIES: &[(&str, Value)] = &[
    ("vllm:num_requests_running", |s| s.running),
    ("vllm:num_requests_waiting", |s| s.waiting),
    ("vllm:kv_cache_usage_perc", |s| s.kv_usage),
    ("vllm:iteration_tokens_total_count", |s| s.steps),
    ("vllm:iteration_tokens_total_sum", |s| s.step_tokens),
    ("vllm:num_preemptions_total", |s| s.preemptions),
    ("vllm:prompt_tokens_total", |s| s.prompt_tokens),
    ("vllm:generation_tokens_total", |s| s.generation_tokens),
    ("vllm:request_success_total", |s| s.finished),
    ("vllm:admission_rejections_total", |s| s.rejected),
    ("vllm:inter_token_latency_seconds_sum", |s| s.itl.0),
    ("vllm:inter_token_latency_seconds_count", |s| s.itl.1),
    ("vllm:time_to_first_token_seconds_sum", |s| s.ttft.0),
    ("vllm:time_to_first_token_seconds_count", |s| s.ttft.1),
    ("vllm:request_queue_time_seconds_sum", |s| s.queue.0),
    ("vllm:request_queue_time_seconds_count", |s| s.queue.1),
    ("vllm:request_inference_time_seconds_sum", |s| s.inference.0),
    ("vllm:request_inference_time_seconds_count", |s| s.inference.1),
    ("vllm:request_prompt_tokens_sum", |s| s.request_prompt.0),
    ("vllm:request_prompt_tokens_count", |s| s.request_prompt.1),
    ("vllm:request_generation_tokens_sum", |s| s.request_generation.0),
    ("vllm:request_generation_tokens_count", |s| s.request_generation.1),
];

/// Scrapes a generated engine.
pub struct Feed {
    pub builder: SnapshotBuilder,
    series: Vec<SeriesRef>,
    healthy: bool,
}

impl Feed {
    pub fn new(target: &str, engine: &Engine) -> Self {
        let mut builder = SnapshotBuilder::new(target, StaleAfter::default());
        let labels = [("engine", "0"), ("model_name", "generated")];
        let series = SERIES
            .iter()
            .map(|(name, _)| {
                builder
                    .series(name, &labels)
                    .unwrap_or_else(|| panic!("{name} is of use"))
            })
            .collect();
        let (block, blocks) = (
            engine.config.block_tokens.to_string(),
            engine.config.kv_blocks.to_string(),
        );
        builder.cache_config(&[("block_size", &block), ("num_gpu_blocks", &blocks)], Time::ZERO);
        builder.limits(
            Some(engine.config.max_running as f64),
            engine.config.max_queued.map(|limit| limit as f64),
            None,
        );
        builder.version("0.32.0+simulated");
        Self {
            builder,
            series,
            healthy: true,
        }
    }

    /// A page and a health probe at this time.
    pub fn page(&mut self, engine: &Engine, at_secs: f64) {
        let at = Time::from_secs_f64(at_secs);
        for ((_, value), series) in SERIES.iter().zip(&self.series) {
            self.builder.put(*series, value(&engine.stats), at);
        }
        self.builder.page_complete(at);
        self.builder.metrics_probe(probe(at, ProbeOutcome::Status(200)));
        let health = if self.healthy { 200 } else { 503 };
        self.builder.health(probe(at, ProbeOutcome::Status(health)));
    }

    /// Requests of our own: how many are in flight, and seconds since one of them made progress.
    pub fn own(&mut self, in_flight: f64, since_progress_secs: f64) {
        self.builder.own(OwnRequests {
            in_flight: Signal::fresh(in_flight, 0.0),
            since_progress_secs: Signal::fresh(since_progress_secs, 0.0),
            queued_prompt_tokens: Signal::default(),
        });
    }

    pub fn snapshot(&mut self, at_secs: f64) -> Snapshot {
        self.builder.build(Time::from_secs_f64(at_secs))
    }

    pub fn set_healthy(&mut self, healthy: bool) {
        self.healthy = healthy;
    }
}

pub fn probe(at: Time, outcome: ProbeOutcome) -> Probe {
    Probe {
        at,
        outcome,
        connect_secs: Some(0.0005),
        first_byte_secs: Some(0.003),
    }
}
