//! Facts of a run that comparisons and diagnoses need.

use mlperf_dataset::Dataset;
use mlperf_loadgen::{Scenario, TestSettings};
use run_report::facts;
use sha2::{Digest, Sha256};
use vllm_sim::EngineConfig;

use crate::plan::{Plan, ServerPlan};

/// Server arguments that change the amount of work or how it is done.
const ARGUMENTS: [&str; 20] = [
    "async-scheduling",
    "attention-backend",
    "block-size",
    "data-parallel-size",
    "dtype",
    "enable-chunked-prefill",
    "enable-expert-parallel",
    "enable-prefix-caching",
    "enforce-eager",
    "gpu-memory-utilization",
    "kv-cache-dtype",
    "max-model-len",
    "max-num-batched-tokens",
    "max-num-seqs",
    "num-gpu-blocks-override",
    "pipeline-parallel-size",
    "quantization",
    "speculative-config",
    "stream-interval",
    "tensor-parallel-size",
];

pub(super) fn of(plan: &Plan, settings: &TestSettings, dataset: &Dataset) -> Vec<(String, String)> {
    let mut out = vec![
        (facts::DATASET_HASH.to_owned(), hash(dataset)),
        (facts::SEED.to_owned(), settings.schedule_rng_seed.to_string()),
    ];
    if settings.scenario == Scenario::Server {
        for (key, limit) in [
            (facts::TTFT_LIMIT, settings.server_ttft_latency),
            (facts::TPOT_LIMIT, settings.server_tpot_latency),
        ] {
            if !limit.is_zero() {
                out.push((key.to_owned(), limit.as_secs_f64().to_string()));
            }
        }
    }
    let arguments = match &plan.server {
        ServerPlan::Start(replicas) => arguments(&replicas[0].args),
        ServerPlan::Simulator => simulator(),
        ServerPlan::Attach { .. } | ServerPlan::Inherited(_) => Vec::new(),
    };
    out.extend(
        arguments
            .into_iter()
            .map(|(name, value)| (format!("{}{name}", facts::SERVER_ARGUMENT), value)),
    );
    out
}

/// SHA-256 of the prompts in order, over token ids and text.
fn hash(dataset: &Dataset) -> String {
    let mut hash = Sha256::new();
    for prompt in &dataset.prompts {
        hash.update((prompt.token_ids.len() as u64).to_le_bytes());
        for id in &prompt.token_ids {
            hash.update(id.to_le_bytes());
        }
        hash.update(prompt.text.as_deref().unwrap_or("").as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `--name value`, `--name=value`, `--name` and `--no-name`, with vLLM's short names.
fn arguments(words: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let name = match flag {
            "-tp" => "tensor-parallel-size".to_owned(),
            "-pp" => "pipeline-parallel-size".to_owned(),
            "-dp" => "data-parallel-size".to_owned(),
            "-q" => "quantization".to_owned(),
            _ => match flag.strip_prefix("--") {
                Some(name) => name.replace('_', "-"),
                None => continue,
            },
        };
        let negated = name.strip_prefix("no-").filter(|rest| ARGUMENTS.contains(rest));
        if let Some(name) = negated {
            found.push((name.to_owned(), "False".to_owned()));
        } else if ARGUMENTS.contains(&name.as_str()) {
            let value = value
                .or_else(|| words.next_if(|next| !next.starts_with('-')).cloned())
                .unwrap_or_else(|| "True".to_owned());
            found.push((name, value));
        }
    }
    found
}

/// The limits of the built-in simulator.
fn simulator() -> Vec<(String, String)> {
    let engine = EngineConfig::h100_8b();
    [
        ("max-num-seqs", engine.max_num_seqs),
        ("max-num-batched-tokens", engine.max_num_batched_tokens),
        ("max-model-len", engine.max_model_len),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_string()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_every_spelling() {
        let line = "--max-num-seqs 8 --dtype=bfloat16 --no-enable-prefix-caching -tp 2 --enforce-eager --port 8000 \
                    --kv_cache_dtype fp8";
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let found = arguments(&words);
        let expected = [
            ("max-num-seqs", "8"),
            ("dtype", "bfloat16"),
            ("enable-prefix-caching", "False"),
            ("tensor-parallel-size", "2"),
            ("enforce-eager", "True"),
            ("kv-cache-dtype", "fp8"),
        ];
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_hash_follows_the_prompts_and_their_order() {
        let prompt = |ids: &[i32]| mlperf_dataset::Prompt {
            token_ids: ids.to_vec(),
            ..mlperf_dataset::Prompt::default()
        };
        let dataset = |prompts| Dataset {
            prompts,
            ..Dataset::default()
        };
        let one = hash(&dataset(vec![prompt(&[1, 2]), prompt(&[3])]));
        assert_eq!(one, hash(&dataset(vec![prompt(&[1, 2]), prompt(&[3])])));
        assert_ne!(one, hash(&dataset(vec![prompt(&[1]), prompt(&[2, 3])])));
        assert_ne!(one, hash(&dataset(vec![prompt(&[3]), prompt(&[1, 2])])));
    }
}
