//! Names in documents and dashboards that no vLLM exports, each with its replacement and the source of that.

use super::exporters::names_of;
use super::vllm::vllm_entry;

/// A name that no server exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromisedMetric {
    /// The name asked for.
    pub name: &'static str,
    /// Unit of the published replacement.
    pub unit: &'static str,
    /// Source of the values.
    pub source: Source,
    /// Human-readable explanation.
    pub explanation: &'static str,
}

/// Source of the values of a promised name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A derived series of this name is published with the processed data.
    Derived(&'static [&'static str]),
    /// Nothing is published under this name; these series contain the same information.
    Instead(&'static [&'static str]),
}

impl PromisedMetric {
    /// Every metric that the values may come from, including GPU exporters' own names.
    pub fn metrics(&self) -> impl Iterator<Item = &'static str> {
        let (Derived(sources) | Instead(sources)) = self.source;
        sources.iter().flat_map(|ours| {
            names_of(ours)
                .map(|(name, _)| name)
                .filter(move |name| name == ours || ours.starts_with("gpu_"))
        })
    }
}

use Source::{Derived, Instead};

const fn row(
    name: &'static str,
    unit: &'static str,
    source: Source,
    explanation: &'static str,
) -> PromisedMetric {
    PromisedMetric {
        name,
        unit,
        source,
        explanation,
    }
}

/// All promised names.
pub const PROMISED: &[PromisedMetric] = &[
    row(
        "vllm:request_latency",
        "seconds",
        Derived(&["vllm:e2e_request_latency_seconds"]),
        "mean end-to-end latency per interval, from the histogram",
    ),
    row(
        "vllm:gpu_utilization",
        "ratio",
        Derived(&["gpu_utilization_ratio"]),
        "vLLM does not look at the GPU; from the GPU sampler or a GPU exporter",
    ),
    row(
        "vllm:gpu_memory_used",
        "bytes",
        Derived(&["gpu_memory_used_bytes"]),
        "vLLM does not look at the GPU; from the GPU sampler or a GPU exporter",
    ),
    row(
        "vllm:kv_cache_usage_ratio",
        "ratio",
        Derived(&["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]),
        "vLLM's gauge is a ratio in spite of its name",
    ),
    row(
        "vllm:request_failure_total",
        "requests",
        Derived(&["vllm:request_success_total", "http_requests_total"]),
        "requests that ended in abort or error, answers of 5xx, and failures seen by the harness, each by reason",
    ),
    row(
        "vllm:tokens_per_second",
        "tokens_per_second",
        Derived(&["vllm:generation_tokens_total"]),
        "rate of a counter",
    ),
    row(
        "vllm:requests_per_second",
        "requests_per_second",
        Derived(&["vllm:request_success_total"]),
        "rate of a counter",
    ),
    row(
        "vllm:gpu_memory_total",
        "bytes",
        Instead(&["gpu_memory_total_bytes"]),
        "from the GPU sampler",
    ),
    row(
        "vllm:gpu_memory_free",
        "bytes",
        Instead(&["gpu_memory_total_bytes", "gpu_memory_used_bytes"]),
        "the difference of the two, from the GPU sampler",
    ),
    row(
        "vllm:request_input_tokens",
        "tokens",
        Instead(&["vllm:request_prompt_tokens"]),
        "a histogram",
    ),
    row(
        "vllm:request_output_tokens",
        "tokens",
        Instead(&["vllm:request_generation_tokens"]),
        "a histogram",
    ),
    row(
        "vllm:request_duration",
        "seconds",
        Instead(&["vllm:e2e_request_latency_seconds"]),
        "a histogram",
    ),
    row(
        "vllm:request_ttft",
        "seconds",
        Instead(&["vllm:time_to_first_token_seconds"]),
        "a histogram",
    ),
    row(
        "vllm:request_itl",
        "seconds",
        Instead(&[
            "vllm:inter_token_latency_seconds",
            "vllm:time_per_output_token_seconds",
        ]),
        "a histogram, under its older name before 0.10.2",
    ),
    row(
        "vllm:num_requests_finished",
        "requests",
        Instead(&["vllm:request_success_total"]),
        "all reasons together",
    ),
    row(
        "vllm:num_requests_cancelled",
        "requests",
        Instead(&["vllm:request_success_total"]),
        "the reason abort",
    ),
    row(
        "vllm:num_requests_failed",
        "requests",
        Instead(&["vllm:request_failure_total"]),
        "a derived series",
    ),
];

/// Returns the entry of a promised name; `None` for any other name.
pub fn promised(name: &str) -> Option<&'static PromisedMetric> {
    PROMISED
        .iter()
        .find(|promised| promised.name == name)
        .filter(|_| vllm_entry(name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_promised_name_is_exported_by_any_release() {
        for row in PROMISED {
            assert_eq!(promised(row.name), Some(row), "{} is a metric of vLLM", row.name);
            let (Derived(sources) | Instead(sources)) = row.source;
            for source in sources.iter().filter(|source| source.starts_with("vllm:")) {
                let known = vllm_entry(source).is_some() || promised(source).is_some();
                assert!(
                    known,
                    "{source}, named as the source of {}, does not exist",
                    row.name
                );
            }
        }
    }
}
