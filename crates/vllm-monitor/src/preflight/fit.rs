//! Whether weights and context fit into the GPUs' memory. The finding shows the arithmetic.
//!
//! A GPU must hold its share of the weights, a reserve for activations and graphs, and the keys and values of at least
//! one sequence of full length. The reserve is an assumption: vLLM measures it at start.

use super::model_files::dtype_bytes;
use super::{Change, Facts, Finding, GpuFacts, ModelConfig, ModelLocation, ParsedArguments, gib};

/// `--gpu-memory-utilization` of vLLM 0.32 if it is not given.
const DEFAULT_UTILIZATION: f64 = 0.92;
/// Activations, graphs and the context of CUDA: assumed, since only a start measures it.
const RESERVE_BYTES: f64 = 2.5e9;
/// KV cache of a CPU build in GiB if `VLLM_CPU_KVCACHE_SPACE` is not given: assumed.
const CPU_CACHE_GIB: f64 = 4.0;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

pub(super) fn check(facts: &Facts, arguments: &ParsedArguments) -> Vec<Finding> {
    let Some(gpus) = &facts.gpus else {
        return vec![Finding::unknown("memory", "GPUs could not be queried")];
    };
    if gpus.is_empty() {
        return vec![on_cpu(facts)];
    }
    let utilization = arguments
        .number("--gpu-memory-utilization")
        .unwrap_or(DEFAULT_UTILIZATION);
    let tensor = arguments.number("--tensor-parallel-size").unwrap_or(1.0).max(1.0);
    let pipeline = arguments
        .number("--pipeline-parallel-size")
        .unwrap_or(1.0)
        .max(1.0);
    let used = (tensor * pipeline) as usize;
    if used > gpus.len() {
        let what = format!("{tensor} × {pipeline} = {used} GPUs wanted, {} there", gpus.len());
        return vec![
            Finding::blocks("memory", what)
                .way_out("lower --tensor-parallel-size or --pipeline-parallel-size"),
        ];
    }
    let mut findings: Vec<Finding> = gpus[..used]
        .iter()
        .filter_map(|gpu| free_enough(gpu, utilization))
        .collect();
    let smallest = gpus[..used]
        .iter()
        .map(|gpu| gpu.total_bytes)
        .fold(f64::INFINITY, f64::min);
    findings.push(match &facts.model {
        Some(ModelLocation::Here(model)) => match (model.weight_bytes, &model.config) {
            (Some(weights), Some(config)) => {
                let budget = Budget {
                    total: smallest,
                    utilization,
                    weights,
                    tensor,
                    pipeline,
                };
                room(&budget, config, arguments)
            }
            _ => Finding::unknown(
                "memory",
                "the size of the weights or the model's shape is not known",
            ),
        },
        _ => Finding::unknown("memory", "the model is not here, so its size is not known"),
    });
    findings
}

/// A CPU build holds weights and keys and values in the machine's memory.
fn on_cpu(facts: &Facts) -> Finding {
    let weights = match &facts.model {
        Some(ModelLocation::Here(model)) => model.weight_bytes,
        _ => None,
    };
    let (Some(weights), Some(available)) = (weights, facts.available_memory_bytes) else {
        return Finding::unknown(
            "memory",
            "no GPU; the size of the weights or the free memory is not known",
        );
    };
    let environment = facts.environment.as_deref().unwrap_or_default();
    let given = environment
        .iter()
        .find(|(name, _)| name == "VLLM_CPU_KVCACHE_SPACE");
    let space = given
        .and_then(|(_, gib)| gib.parse::<f64>().ok())
        .unwrap_or(CPU_CACHE_GIB)
        * GIB;
    let needed = weights + space + RESERVE_BYTES;
    let sum = format!(
        "no GPU: {} weights + {} KV cache + {} assumed for activations = {}; {} available",
        gib(weights),
        gib(space),
        gib(RESERVE_BYTES),
        gib(needed),
        gib(available)
    );
    if needed > available {
        Finding::blocks("memory", sum).way_out("lower VLLM_CPU_KVCACHE_SPACE, or free memory")
    } else {
        Finding::pass("memory", sum)
    }
}

/// vLLM takes its share of the whole memory and ends if that much is not free.
fn free_enough(gpu: &GpuFacts, utilization: f64) -> Option<Finding> {
    let wanted = gpu.total_bytes * utilization;
    let sum = format!(
        "GPU {}: {} × {utilization} = {} wanted, {} free",
        gpu.index,
        gib(gpu.total_bytes),
        gib(wanted),
        gib(gpu.free_bytes)
    );
    if gpu.free_bytes >= wanted {
        return None;
    }
    let fits = (gpu.free_bytes / gpu.total_bytes * 100.0).floor() / 100.0;
    let holders = if gpu.processes.is_empty() {
        "another process".to_owned()
    } else {
        gpu.processes.join(", ")
    };
    Some(
        Finding::blocks("memory", sum)
            .way_out(format!("end {holders}, or --gpu-memory-utilization {fits:.2}"))
            .fix(
                Change::Argument {
                    flag: "--gpu-memory-utilization".into(),
                    value: format!("{fits:.2}"),
                },
                false,
                format!("--gpu-memory-utilization {utilization}"),
            ),
    )
}

struct Budget {
    total: f64,
    utilization: f64,
    weights: f64,
    tensor: f64,
    pipeline: f64,
}

fn room(budget: &Budget, config: &ModelConfig, arguments: &ParsedArguments) -> Finding {
    let share = budget.weights / (budget.tensor * budget.pipeline);
    let left = budget.total * budget.utilization - share - RESERVE_BYTES;
    let sum = format!(
        "{} × {} − {} weights / {} − {} assumed for activations = {}",
        gib(budget.total),
        budget.utilization,
        gib(budget.weights),
        budget.tensor * budget.pipeline,
        gib(RESERVE_BYTES),
        gib(left)
    );
    if left <= 0.0 {
        let needed = ((share + RESERVE_BYTES) / budget.total).min(0.98);
        let way_out = if share + RESERVE_BYTES < 0.98 * budget.total {
            format!(
                "--gpu-memory-utilization {:.2}, or more GPUs",
                (needed * 100.0).ceil() / 100.0
            )
        } else {
            format!(
                "at least {} GPUs (--tensor-parallel-size), or a quantized model",
                (budget.weights / (0.9 * budget.total - RESERVE_BYTES).max(1.0)).ceil()
            )
        };
        return Finding::blocks("memory", format!("{sum}: the weights do not fit")).way_out(way_out);
    }
    let Some(per_token) = kv_bytes_per_token(config, arguments, budget) else {
        return Finding::unknown(
            "memory",
            format!("{sum} for keys and values; the model's shape is not understood"),
        );
    };
    let tokens = (left / per_token).floor();
    let longest = arguments
        .number("--max-model-len")
        .filter(|length| *length > 0.0)
        .or(config.max_position_embeddings);
    let bound = if config.has_windows { "at least " } else { "" };
    let with_tokens = format!("{sum}; {per_token} bytes a token, so {bound}{tokens} tokens");
    match longest {
        None => Finding::unknown(
            "memory",
            format!("{with_tokens}; the longest sequence is not known"),
        ),
        Some(longest) if tokens < longest && config.has_windows => Finding::unknown(
            "memory",
            format!("{with_tokens}, {longest} wanted; layers with windows need less"),
        ),
        Some(longest) if tokens < longest => {
            // A multiple of 256 keeps the last block full for any block size in use.
            let fits = (tokens / 256.0).floor() * 256.0;
            let asked = arguments
                .value("--max-model-len")
                .map_or(String::new(), |v| format!("--max-model-len {v}"));
            Finding::blocks(
                "memory",
                format!("{with_tokens}; one sequence of {longest} does not fit"),
            )
            .way_out(format!(
                "--max-model-len {fits}, a higher --gpu-memory-utilization, or more GPUs"
            ))
            .fix(
                Change::Argument {
                    flag: "--max-model-len".into(),
                    value: format!("{fits}"),
                },
                false,
                if asked.is_empty() {
                    "take --max-model-len away".to_owned()
                } else {
                    asked
                },
            )
        }
        Some(longest) => Finding::pass(
            "memory",
            format!("{with_tokens}: {:.1} sequences of {longest}", tokens / longest),
        ),
    }
}

/// Bytes of keys and values that one token takes on one GPU.
fn kv_bytes_per_token(config: &ModelConfig, arguments: &ParsedArguments, budget: &Budget) -> Option<f64> {
    let element = match arguments.value("--kv-cache-dtype") {
        Some("auto") | None => arguments
            .value("--dtype")
            .and_then(dtype_bytes)
            .or(config.dtype_bytes)
            .unwrap_or(2.0),
        Some(name) => dtype_bytes(name)?,
    };
    let layers = config.layers? / budget.pipeline;
    // Heads are split over GPUs as far as there are heads; beyond that they are copied.
    let split = config.kv_heads.map_or(1.0, |heads| budget.tensor.min(heads));
    Some(config.kv_elements_per_layer? / split * layers * element)
}

#[cfg(test)]
mod tests {
    use super::super::{ArgumentTable, ModelFacts, Outcome};
    use super::*;

    fn gpu(total: f64, free: f64) -> GpuFacts {
        GpuFacts {
            index: 0,
            name: "G".into(),
            total_bytes: total * GIB,
            free_bytes: free * GIB,
            compute_capability: None,
            remap_pending: None,
            uncorrected_errors: None,
            processes: vec!["python (pid 9)".into()],
        }
    }

    fn llama_8b() -> ModelLocation {
        let config =
            br#"{"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"hidden_size":4096,
            "max_position_embeddings":131072,"torch_dtype":"bfloat16"}"#;
        ModelLocation::Here(Box::new(ModelFacts {
            config: Some(ModelConfig::parse(config).expect("JSON")),
            weight_bytes: Some(16.06e9),
            weight_files: 4,
            ..ModelFacts::default()
        }))
    }

    fn found(gpus: Vec<GpuFacts>, model: Option<ModelLocation>, line: &[&str]) -> Vec<Finding> {
        let arguments: Vec<String> = line.iter().map(|a| (*a).to_owned()).collect();
        let parsed = ArgumentTable::for_version(Some("0.32.0")).parse(&arguments);
        check(
            &Facts {
                gpus: Some(gpus),
                model,
                arguments,
                ..Facts::default()
            },
            &parsed,
        )
    }

    #[test]
    fn an_8b_model_on_a_large_gpu() {
        let finding = found(vec![gpu(80.0, 79.0)], Some(llama_8b()), &[]).remove(0);
        assert_eq!(finding.outcome, Outcome::Pass, "{finding}");
        assert!(finding.what.contains("131072 bytes a token"), "{finding}");
        assert!(
            finding.what.contains("3.5 sequences") || finding.what.contains("3.4 sequences"),
            "{finding}"
        );
    }

    #[test]
    fn on_a_small_gpu_the_context_is_too_long() {
        let finding = found(vec![gpu(24.0, 24.0)], Some(llama_8b()), &[]).remove(0);
        assert_eq!(finding.outcome, Outcome::Fail);
        let fix = finding.fix.expect("a shorter context");
        assert!(!fix.is_safe, "it changes what the model can do");
        let Change::Argument { flag, value } = fix.change else {
            panic!("an argument")
        };
        let fits: f64 = value.parse().expect("a number");
        assert!(
            flag == "--max-model-len" && (20_000.0..60_000.0).contains(&fits),
            "{fits}"
        );
        let shorter = found(
            vec![gpu(24.0, 24.0)],
            Some(llama_8b()),
            &["--max-model-len", &value],
        )
        .remove(0);
        assert_eq!(shorter.outcome, Outcome::Pass, "the fix works: {shorter}");
    }

    #[test]
    fn weights_that_do_not_fit_and_gpus_that_are_not_there() {
        let finding = found(vec![gpu(16.0, 16.0)], Some(llama_8b()), &[]).remove(0);
        assert!(
            finding.outcome == Outcome::Fail && finding.what.contains("weights do not fit"),
            "{finding}"
        );
        let two = found(vec![gpu(16.0, 16.0)], Some(llama_8b()), &["-tp", "2"]).remove(0);
        assert!(two.what.contains("2 GPUs wanted, 1 there"), "{two}");
    }

    #[test]
    fn a_gpu_in_use_names_its_user_and_the_share_that_fits() {
        let findings = found(vec![gpu(80.0, 40.0)], Some(llama_8b()), &[]);
        let way_out = findings[0].way_out.as_deref().expect("a way out");
        assert!(
            way_out.contains("python (pid 9)") && way_out.contains("0.50"),
            "{way_out}"
        );
    }

    #[test]
    fn a_cpu_build_needs_the_machines_memory() {
        let with = |available: f64| {
            check(
                &Facts {
                    gpus: Some(Vec::new()),
                    model: Some(llama_8b()),
                    available_memory_bytes: Some(available * GIB),
                    environment: Some(vec![("VLLM_CPU_KVCACHE_SPACE".into(), "8".into())]),
                    ..Facts::default()
                },
                &ParsedArguments::default(),
            )
            .remove(0)
            .outcome
        };
        assert_eq!((with(16.0), with(32.0)), (Outcome::Fail, Outcome::Pass));
    }

    #[test]
    fn without_the_model_nothing_is_claimed() {
        assert_eq!(
            found(vec![gpu(80.0, 80.0)], None, &[]).remove(0).outcome,
            Outcome::Unknown
        );
    }
}
