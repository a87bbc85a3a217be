//! The configuration of a simulated server: its engine, its step-time model, its answers. Plain data with
//! presets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::faults::FaultRule;

/// How long one engine step takes, in virtual nanoseconds.
///
/// `fixed + max(weight_read, tokens × per_token) + sequences × per_sequence + kv_tokens × per_kv_token`, times a
/// jitter. `tokens` are all tokens computed in the step (a decoding sequence computes one), `kv_tokens` the context
/// tokens whose keys and values are read: one pass over the context per scheduled sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepModel {
    /// Launch, scheduling and sampling: paid by every step.
    pub fixed_ns: f64,
    /// Reading the weights once; the lower bound of the compute term.
    pub weight_read_ns: f64,
    /// Arithmetic of one token; the compute term is this times the step's tokens.
    pub per_token_ns: f64,
    /// Bookkeeping and sampling of one sequence.
    pub per_sequence_ns: f64,
    /// Reading keys and values of one context token.
    pub per_kv_token_ns: f64,
    /// From a request's arrival to its entry into the queue: parsing, tokenizing, handing over. It runs in
    /// parallel with the steps and is not part of them. [`EngineConfig::front_end_serial`] decides whether
    /// several requests can pass the front end at the same time.
    pub front_end_ns: f64,
    /// Standard deviation of the multiplicative jitter, as a ratio; 0 for none.
    pub jitter_ratio: f64,
}

impl StepModel {
    /// No time passes: the engine runs as fast as the program can. For measuring clients.
    pub const INSTANT: Self = Self {
        fixed_ns: 0.0,
        weight_read_ns: 0.0,
        per_token_ns: 0.0,
        per_sequence_ns: 0.0,
        per_kv_token_ns: 0.0,
        front_end_ns: 0.0,
        jitter_ratio: 0.0,
    };

    /// A Llama of two layers and hidden size 128 on two CPU cores under vLLM 0.32.
    ///
    /// Origin: ten minutes of a real server under a mixed load, scraped once a second (3,343 requests of 361
    /// prompt and 67 output tokens on average, one to forty at a time). The load was reconstructed from the
    /// counters and replayed, and the step's constants were chosen by a grid search that minimises the error
    /// of nine aggregates; the front end's time is the recorded time to first token less the prefill time.
    /// Compared with that recording, the steps, the mean latencies (between tokens, to the first token,
    /// prefill, decode, end to end) and the shares of short latencies and of small steps are within 10 %, the
    /// share of steps with a single token within 20 %, as checked by a test. Not covered: preemption and
    /// batches above forty.
    ///
    /// The model is so small that almost all of the cost is in the framework: reading the weights is
    /// negligible.
    pub const TINY_CPU: Self = Self {
        fixed_ns: 1_500_000.0,
        weight_read_ns: 0.0,
        per_token_ns: 18_000.0,
        per_sequence_ns: 300_000.0,
        per_kv_token_ns: 5.0,
        front_end_ns: 12_000_000.0,
        jitter_ratio: 0.05,
    };

    /// Llama 3.1 8B in bfloat16 on one H100 SXM, calculated, not measured.
    ///
    /// 8.03e9 parameters of 2 bytes over 3.35 TB/s at 80 % is 6.0 ms to read the weights. 2 × 8.03e9 operations a
    /// token over 989 TFLOP/s at 60 % is 27 µs. Keys and values are 2 × 32 layers × 8 heads × 128 × 2 bytes =
    /// 131,072 bytes a token, at 80 % of the same bandwidth 49 ns. Launch and sampling: 1 ms a step and 5 µs a
    /// sequence, assumed; the front end is left out.
    pub const H100_8B: Self = Self {
        fixed_ns: 1_000_000.0,
        weight_read_ns: 6_000_000.0,
        per_token_ns: 27_000.0,
        per_sequence_ns: 5_000.0,
        per_kv_token_ns: 49.0,
        front_end_ns: 0.0,
        jitter_ratio: 0.02,
    };

    /// Virtual duration of a step, before jitter.
    pub fn step_ns(&self, tokens: u64, sequences: u64, kv_tokens: u64) -> f64 {
        self.fixed_ns
            + self.weight_read_ns.max(tokens as f64 * self.per_token_ns)
            + sequences as f64 * self.per_sequence_ns
            + kv_tokens as f64 * self.per_kv_token_ns
    }
}

/// How many tokens the model generates before it ends on its own; `max_tokens` cuts it, `ignore_eos` disables
/// it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum OutputLength {
    /// Always the same.
    Fixed(u32),
    /// Uniform between two lengths, both included.
    Uniform {
        /// Shortest.
        min: u32,
        /// Longest.
        max: u32,
    },
    /// Log-normal: `median × exp(sigma × z)`.
    LogNormal {
        /// Half of the answers are shorter.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
}

/// One simulated engine: the limits of the scheduler and the cost of its steps.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Seed of output lengths, tokens and jitter.
    pub seed: u64,
    /// The step-time model.
    pub step: StepModel,
    /// Divides every step time; 2 is a server twice as fast.
    pub speed_ratio: f64,
    /// Longest sequence, prompt and output together, in tokens.
    pub max_model_len: u32,
    /// Most sequences in one step.
    pub max_num_seqs: u32,
    /// Most tokens computed in one step.
    pub max_num_batched_tokens: u32,
    /// Split prompts over several steps. Otherwise a prompt waits until it fits as a whole.
    pub enable_chunked_prefill: bool,
    /// Tokens per KV block.
    pub block_size: u32,
    /// KV blocks of the pool, including the one that holds no tokens.
    pub num_gpu_blocks: u32,
    /// Reuse the blocks of a shared prefix.
    pub enable_prefix_caching: bool,
    /// Number of token ids, special ones included.
    pub vocab_size: u32,
    /// How long answers are.
    pub output_length: OutputLength,
    /// Share of the KV blocks that stays free when a waiting request is admitted, at least 0
    /// and below 1; vLLM's `--watermark`.
    pub watermark: f64,
    /// The front end processes one request at a time, each for [`StepModel::front_end_ns`], like vLLM's
    /// single API process. Otherwise any number of requests pass it concurrently.
    pub front_end_serial: bool,
    /// Clock of the GPU's cores as a share of its maximum, above 0 and at most 1: a power cap lowers it. Divides the
    /// compute term of a step (`per_token_ns`) and leaves launch and memory reads as they are.
    pub gpu_clock_ratio: f64,
}

impl EngineConfig {
    /// The tiny CPU server of [`StepModel::TINY_CPU`], with the limits vLLM gives a CPU.
    pub fn tiny_cpu() -> Self {
        Self {
            seed: 0,
            step: StepModel::TINY_CPU,
            speed_ratio: 1.0,
            max_model_len: 2048,
            max_num_seqs: 128,
            max_num_batched_tokens: 2048,
            enable_chunked_prefill: true,
            block_size: 128,
            num_gpu_blocks: 16_384,
            enable_prefix_caching: true,
            vocab_size: 1024,
            output_length: OutputLength::LogNormal {
                median: 96.0,
                sigma: 0.6,
            },
            watermark: 0.0,
            front_end_serial: false,
            gpu_clock_ratio: 1.0,
        }
    }

    /// One H100 with an 8B model, as [`StepModel::H100_8B`]: 0.92 of 80 GB less 16 GB of weights and 2 GB of
    /// activations is enough for about 420,000 tokens.
    pub fn h100_8b() -> Self {
        Self {
            seed: 0,
            step: StepModel::H100_8B,
            speed_ratio: 1.0,
            max_model_len: 131_072,
            max_num_seqs: 1024,
            max_num_batched_tokens: 8192,
            enable_chunked_prefill: true,
            block_size: 16,
            num_gpu_blocks: 26_300,
            enable_prefix_caching: true,
            vocab_size: 128_256,
            output_length: OutputLength::LogNormal {
                median: 128.0,
                sigma: 0.6,
            },
            watermark: 0.0,
            front_end_serial: false,
            gpu_clock_ratio: 1.0,
        }
    }

    /// Steps that take no time, for measuring clients.
    pub fn instant() -> Self {
        Self {
            step: StepModel::INSTANT,
            ..Self::h100_8b()
        }
    }

    /// A preset by name: `tiny-cpu`, `h100-8b` or `instant`.
    ///
    /// # Errors
    /// [`Error::Config`] names the available presets.
    pub fn preset(name: &str) -> Result<Self> {
        match name {
            "tiny-cpu" => Ok(Self::tiny_cpu()),
            "h100-8b" => Ok(Self::h100_8b()),
            "instant" => Ok(Self::instant()),
            _ => Err(Error::Config(format!(
                "unknown preset `{name}`: use tiny-cpu, h100-8b or instant"
            ))),
        }
    }

    /// Tokens that sequences can hold. vLLM reserves the first block of the pool for itself, and so does the
    /// simulator.
    pub fn usable_tokens(&self) -> u64 {
        u64::from(self.block_size) * u64::from(self.num_gpu_blocks.saturating_sub(1))
    }

    /// [`EngineConfig::watermark`] as a number of KV blocks of the whole pool, rounded down. They are not kept free
    /// while no request runs, since a lone request could wait forever.
    pub fn watermark_blocks(&self) -> u64 {
        (self.watermark * f64::from(self.num_gpu_blocks)) as u64
    }

    /// Virtual duration of a step in nanoseconds, before jitter: [`StepModel::step_ns`] at this engine's clock and
    /// speed.
    pub fn step_ns(&self, tokens: u64, sequences: u64, kv_tokens: u64) -> f64 {
        let step = StepModel {
            per_token_ns: self.step.per_token_ns / self.gpu_clock_ratio,
            ..self.step
        };
        step.step_ns(tokens, sequences, kv_tokens) / self.speed_ratio
    }

    /// Rejects settings that the engine cannot run.
    ///
    /// # Errors
    /// [`Error::Config`] names the field and the bound.
    pub fn validate(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::Config(text));
        if !(self.speed_ratio.is_finite() && self.speed_ratio > 0.0) {
            return refuse(format!("speed_ratio is {}: it must be above 0", self.speed_ratio));
        }
        if !(0.0..1.0).contains(&self.watermark) {
            return refuse(format!(
                "watermark is {}: it must be at least 0 and below 1",
                self.watermark
            ));
        }
        if !(self.gpu_clock_ratio > 0.0 && self.gpu_clock_ratio <= 1.0) {
            return refuse(format!(
                "gpu_clock_ratio is {}: it must be above 0 and at most 1",
                self.gpu_clock_ratio
            ));
        }
        for (name, value) in [
            ("max_model_len", self.max_model_len),
            ("max_num_seqs", self.max_num_seqs),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("block_size", self.block_size),
            ("num_gpu_blocks", self.num_gpu_blocks),
        ] {
            if value == 0 {
                return refuse(format!("{name} is 0: it must be at least 1"));
            }
        }
        if self.vocab_size < 16 {
            return refuse(format!(
                "vocab_size is {}: it must be at least 16",
                self.vocab_size
            ));
        }
        let capacity = self.usable_tokens();
        if capacity < u64::from(self.max_model_len) {
            return refuse(format!(
                "max_model_len {} does not fit the KV cache of {capacity} tokens: lower it or raise num_gpu_blocks",
                self.max_model_len
            ));
        }
        if !self.enable_chunked_prefill && self.max_num_batched_tokens < self.max_model_len {
            return refuse(format!(
                "max_num_batched_tokens {} is below max_model_len {} and chunked prefill is off: a long prompt could \
                 never run",
                self.max_num_batched_tokens, self.max_model_len
            ));
        }
        match self.output_length {
            OutputLength::Uniform { min, max } if min > max => {
                refuse(format!("output_length has min {min} above max {max}"))
            }
            OutputLength::LogNormal { median, sigma }
                if !(median.is_finite() && median >= 1.0 && sigma.is_finite() && sigma >= 0.0) =>
            {
                refuse(format!(
                    "output_length has median {median}, sigma {sigma}: at least 1 and 0 are needed"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A prompt and the answer the simulated model gives to it, as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceAnswer {
    /// The exact prompt.
    pub prompt_token_ids: Vec<u32>,
    /// The answer; ends with reason `stop`.
    pub output_token_ids: Vec<u32>,
}

/// Which server's names the metrics page uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[non_exhaustive]
pub enum MetricsStyle {
    /// vLLM 0.32, complete.
    #[default]
    Vllm,
    /// SGLang, the families used by dashboards. Everything else stays as in vLLM.
    Sglang,
}

/// The token required by the simulator's controls. Its text never appears in `Debug` output or logs.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlToken(String);

impl ControlToken {
    /// Wraps a token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Compares in constant time, independent of where the two differ.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        http_guard::is_same_secret(&self.0, given)
    }
}

impl std::fmt::Debug for ControlToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControlToken(redacted)")
    }
}

impl From<String> for ControlToken {
    fn from(token: String) -> Self {
        Self(token)
    }
}

/// A whole simulated server.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Name of the model in requests.
    pub model: String,
    /// The engine, the same for each replica.
    pub engine: EngineConfig,
    /// Engines behind the one address, labelled `engine="0"`, `"1"`, … in metrics.
    pub replicas: u32,
    /// Threads that serve HTTP. One is most efficient; more help only if it is saturated and cores are free.
    pub http_threads: u32,
    /// Tokens per streamed chunk after the first; 1 is vLLM's default.
    pub stream_interval: u32,
    /// Put timing on the last usage chunk, as `--enable-per-request-metrics` does.
    pub per_request_metrics: bool,
    /// Answer 503 beyond this many unfinished requests; `None` for no limit.
    pub max_num_queued_reqs: Option<u32>,
    /// Answer 503 beyond this many prompt tokens still in prefill; `None` for no limit.
    pub max_num_queued_tokens: Option<u64>,
    /// Which server's names the metrics page uses.
    pub metrics_style: MetricsStyle,
    /// Prompts with known answers.
    pub references: Arc<[ReferenceAnswer]>,
    /// Fault rules; see [`crate::faults`].
    pub faults: Vec<FaultRule>,
    /// Serve the routes of vLLM's development mode (`VLLM_SERVER_DEV_MODE=1`): pause, sleep, caches, aborts,
    /// `/server_info`.
    pub dev_mode: bool,
    /// Let `/sleep` give up weights and KV cache, as `--enable-sleep-mode` does.
    pub enable_sleep_mode: bool,
    /// The token for `/sim/faults` and `/v1/monitor`, sent as `X-Monitor-Token`; `None` disables both.
    pub control_token: Option<ControlToken>,
    /// Host names in addition to `localhost` under which it may be reached. Addresses are always accepted.
    pub allowed_hosts: Vec<String>,
    /// Time limit for a request's head, and then for its body, after which the connection is closed. A kept
    /// connection without a request is closed after it too.
    pub request_timeout: Duration,
    /// Folder for the driver library of simulated GPUs, one per engine; `None` for no GPUs. The folder must
    /// outlive the process that loads the library, and must not be mounted `noexec`.
    pub gpu_dir: Option<PathBuf>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            model: "simulated-8b".to_owned(),
            engine: EngineConfig::h100_8b(),
            replicas: 1,
            http_threads: 1,
            stream_interval: 1,
            per_request_metrics: false,
            max_num_queued_reqs: None,
            max_num_queued_tokens: None,
            metrics_style: MetricsStyle::Vllm,
            references: Arc::from([]),
            faults: Vec::new(),
            dev_mode: false,
            enable_sleep_mode: false,
            control_token: None,
            allowed_hosts: Vec::new(),
            request_timeout: Duration::from_secs(30),
            gpu_dir: None,
        }
    }
}

impl SimConfig {
    /// Rejects settings that cannot be served.
    ///
    /// # Errors
    /// [`Error::Config`] names the field and the bound.
    pub fn validate(&self) -> Result<()> {
        self.engine.validate()?;
        for (name, value, most) in [
            ("replicas", self.replicas, 64),
            ("http_threads", self.http_threads, 64),
            ("stream_interval", self.stream_interval, 1 << 20),
        ] {
            if value == 0 || value > most {
                return Err(Error::Config(format!(
                    "{name} is {value}: it must be between 1 and {most}"
                )));
            }
        }
        if self.control_token == Some(ControlToken::new("")) {
            return Err(Error::Config("control_token is empty".to_owned()));
        }
        if self.model.is_empty() {
            return Err(Error::Config(
                "model is empty: give the name that requests will use".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_unknown_names_are_refused() {
        for name in ["tiny-cpu", "h100-8b", "instant"] {
            EngineConfig::preset(name).unwrap().validate().unwrap();
        }
        assert!(
            EngineConfig::preset("h200")
                .unwrap_err()
                .to_string()
                .contains("tiny-cpu")
        );
        SimConfig::default().validate().unwrap();
    }

    #[test]
    fn what_cannot_run_is_refused_by_name() {
        let small = EngineConfig {
            num_gpu_blocks: 4,
            ..EngineConfig::tiny_cpu()
        };
        assert!(
            small
                .validate()
                .unwrap_err()
                .to_string()
                .contains("num_gpu_blocks")
        );
        let still = EngineConfig {
            speed_ratio: 0.0,
            ..EngineConfig::tiny_cpu()
        };
        assert!(still.validate().unwrap_err().to_string().contains("speed_ratio"));
    }

    #[test]
    fn a_decode_step_of_the_large_preset_is_bound_by_the_weights() {
        let m = StepModel::H100_8B;
        let one = m.step_ns(1, 1, 100);
        let sixteen = m.step_ns(16, 16, 1600);
        assert!((6.9e6..7.2e6).contains(&one), "{one}");
        assert!(sixteen < one * 1.1, "{sixteen}");
        // A full prefill budget is bound by compute.
        assert!(m.step_ns(8192, 4, 8192) > 2e8);
    }
}
