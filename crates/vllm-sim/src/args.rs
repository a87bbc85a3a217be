//! The simulator's settings as program arguments, all optional. With the feature `clap` they are an argument
//! group to flatten into a command line, otherwise a plain struct.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::{ControlToken, EngineConfig, MetricsStyle, OutputLength, SimConfig, StepModel};
use crate::error::{Error, Result};
use crate::faults::FaultRule;

/// Settings as given. [`SimArgs::resolve`] fills the gaps from the preset.
///
/// Names and meanings follow `vllm serve` where it has them.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct SimArgs {
    /// Address to listen on.
    #[cfg_attr(feature = "clap", arg(long, default_value = "127.0.0.1"))]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 8000))]
    pub port: u16,
    /// Model name that requests must use.
    #[cfg_attr(feature = "clap", arg(long, default_value = "simulated-8b"))]
    pub served_model_name: String,
    /// What is simulated: tiny-cpu, h100-8b or instant.
    #[cfg_attr(feature = "clap", arg(long, default_value = "h100-8b"))]
    pub preset: String,
    /// Divides every step time.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 1.0))]
    pub speed: f64,
    /// Seed of output lengths, tokens and jitter.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 0))]
    pub seed: u64,
    /// Longest sequence in tokens.
    #[cfg_attr(feature = "clap", arg(long))]
    pub max_model_len: Option<u32>,
    /// Most sequences in one step.
    #[cfg_attr(feature = "clap", arg(long))]
    pub max_num_seqs: Option<u32>,
    /// Most tokens computed in one step.
    #[cfg_attr(feature = "clap", arg(long))]
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens per KV block.
    #[cfg_attr(feature = "clap", arg(long))]
    pub block_size: Option<u32>,
    /// KV blocks of the pool.
    #[cfg_attr(feature = "clap", arg(long))]
    pub num_gpu_blocks_override: Option<u32>,
    /// Number of token ids, special ones included; prompts with higher ids are refused.
    #[cfg_attr(feature = "clap", arg(long))]
    pub vocab_size: Option<u32>,
    /// Switch the prefix cache off.
    #[cfg_attr(feature = "clap", arg(long))]
    pub no_enable_prefix_caching: bool,
    /// Compute each prompt in one step.
    #[cfg_attr(feature = "clap", arg(long))]
    pub no_enable_chunked_prefill: bool,
    /// Fixed answer length in tokens instead of the preset's distribution.
    #[cfg_attr(feature = "clap", arg(long))]
    pub output_tokens: Option<u32>,
    /// Engines behind the one address.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 1))]
    pub data_parallel_size: u32,
    /// Threads that serve HTTP.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 1))]
    pub http_threads: u32,
    /// Tokens per streamed chunk after the first.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 1))]
    pub stream_interval: u32,
    /// Put timing on the last usage chunk.
    #[cfg_attr(feature = "clap", arg(long))]
    pub enable_per_request_metrics: bool,
    /// Answer 503 beyond this many unfinished requests.
    #[cfg_attr(feature = "clap", arg(long))]
    pub max_num_queued_reqs: Option<u32>,
    /// Answer 503 beyond this many prompt tokens still in prefill.
    #[cfg_attr(feature = "clap", arg(long))]
    pub max_num_queued_tokens: Option<u64>,
    /// Share of the KV blocks that stays free when a waiting request is admitted.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 0.0))]
    pub watermark: f64,
    /// Let requests pass the front end one after the other, as through a single API process.
    #[cfg_attr(feature = "clap", arg(long))]
    pub front_end_serial: bool,
    /// Milliseconds that a request takes in the front end instead of the preset's.
    #[cfg_attr(feature = "clap", arg(long, value_name = "MS"))]
    pub front_end_ms: Option<f64>,
    /// Clock of the simulated GPU as a share of its maximum, as under a power cap.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 1.0))]
    pub gpu_clock_ratio: f64,
    /// Serve vLLM's development routes: /pause, /sleep, /reset_prefix_cache, /abort_requests, /server_info.
    #[cfg_attr(feature = "clap", arg(long, env = "VLLM_SERVER_DEV_MODE", value_parser = clap::builder::FalseyValueParser::new()))]
    pub dev_mode: bool,
    /// Let /sleep give up weights and KV cache.
    #[cfg_attr(feature = "clap", arg(long))]
    pub enable_sleep_mode: bool,
    /// Token that /sim/faults and /v1/monitor/levers ask for. Without one both are closed. Other users of this machine
    /// can read a command line: the variable is safer.
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            env = "VLLM_SIM_CONTROL_TOKEN",
            hide_env_values = true,
            value_name = "TOKEN"
        )
    )]
    pub control_token: Option<ControlToken>,
    /// A host name besides localhost under which the server may be reached; may be given again.
    #[cfg_attr(feature = "clap", arg(long = "allowed-host", value_name = "NAME"))]
    pub allowed_hosts: Vec<String>,
    /// Whose names the metrics page uses.
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value = "vllm"))]
    pub metrics_style: MetricsStyle,
    /// A fault rule, such as "status code=503 requests=100..150"; may be given again.
    #[cfg_attr(feature = "clap", arg(long = "fault", value_name = "RULE"))]
    pub faults: Vec<FaultRule>,
}

impl Default for SimArgs {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8000,
            served_model_name: "simulated-8b".to_owned(),
            preset: "h100-8b".to_owned(),
            speed: 1.0,
            seed: 0,
            max_model_len: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            block_size: None,
            num_gpu_blocks_override: None,
            vocab_size: None,
            no_enable_prefix_caching: false,
            no_enable_chunked_prefill: false,
            output_tokens: None,
            data_parallel_size: 1,
            http_threads: 1,
            stream_interval: 1,
            enable_per_request_metrics: false,
            max_num_queued_reqs: None,
            max_num_queued_tokens: None,
            watermark: 0.0,
            front_end_serial: false,
            front_end_ms: None,
            gpu_clock_ratio: 1.0,
            dev_mode: false,
            enable_sleep_mode: false,
            control_token: None,
            allowed_hosts: Vec::new(),
            metrics_style: MetricsStyle::Vllm,
            faults: Vec::new(),
        }
    }
}

impl SimArgs {
    /// Applies the preset and checks all values.
    ///
    /// # Errors
    /// [`Error::Config`] names the invalid value.
    pub fn resolve(&self) -> Result<SimConfig> {
        let preset = EngineConfig::preset(&self.preset)?;
        let max_model_len = match self.max_model_len {
            Some(len) => len,
            // A pool made smaller on purpose limits the preset's longest sequence, like the real server's
            // `auto`.
            None => {
                let pool = EngineConfig {
                    block_size: self.block_size.unwrap_or(preset.block_size),
                    num_gpu_blocks: self.num_gpu_blocks_override.unwrap_or(preset.num_gpu_blocks),
                    ..preset.clone()
                };
                preset
                    .max_model_len
                    .min(u32::try_from(pool.usable_tokens()).unwrap_or(u32::MAX))
            }
        };
        let engine = EngineConfig {
            seed: self.seed,
            speed_ratio: self.speed,
            max_model_len,
            max_num_seqs: self.max_num_seqs.unwrap_or(preset.max_num_seqs),
            max_num_batched_tokens: self
                .max_num_batched_tokens
                .unwrap_or(preset.max_num_batched_tokens),
            enable_chunked_prefill: !self.no_enable_chunked_prefill,
            block_size: self.block_size.unwrap_or(preset.block_size),
            num_gpu_blocks: self.num_gpu_blocks_override.unwrap_or(preset.num_gpu_blocks),
            vocab_size: self.vocab_size.unwrap_or(preset.vocab_size),
            enable_prefix_caching: !self.no_enable_prefix_caching,
            output_length: self
                .output_tokens
                .map_or(preset.output_length, OutputLength::Fixed),
            watermark: self.watermark,
            front_end_serial: self.front_end_serial,
            gpu_clock_ratio: self.gpu_clock_ratio,
            step: StepModel {
                front_end_ns: self.front_end_ms.map_or(preset.step.front_end_ns, |ms| ms * 1e6),
                ..preset.step
            },
        };
        if self.front_end_ms.is_some_and(|ms| !(ms.is_finite() && ms >= 0.0)) {
            return Err(Error::Config(
                "front_end_ms must be a number of milliseconds, at least 0".to_owned(),
            ));
        }
        if self.output_tokens == Some(0) {
            return Err(Error::Config(
                "output_tokens is 0: an answer has at least one token".to_owned(),
            ));
        }
        let config = SimConfig {
            listen: SocketAddr::new(self.host, self.port),
            model: self.served_model_name.clone(),
            engine,
            replicas: self.data_parallel_size,
            http_threads: self.http_threads,
            stream_interval: self.stream_interval,
            per_request_metrics: self.enable_per_request_metrics,
            max_num_queued_reqs: self.max_num_queued_reqs,
            max_num_queued_tokens: self.max_num_queued_tokens,
            metrics_style: self.metrics_style,
            dev_mode: self.dev_mode,
            enable_sleep_mode: self.enable_sleep_mode,
            control_token: self.control_token.clone(),
            allowed_hosts: self.allowed_hosts.clone(),
            faults: self.faults.clone(),
            ..SimConfig::default()
        };
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_resolve_to_the_preset() {
        let config = SimArgs::default().resolve().unwrap();
        assert_eq!(config.engine, EngineConfig::h100_8b());
        assert_eq!(config.listen.port(), 8000);
    }

    #[test]
    fn a_small_pool_shortens_the_longest_sequence_unless_told_otherwise() {
        let args = SimArgs {
            preset: "tiny-cpu".to_owned(),
            num_gpu_blocks_override: Some(8),
            ..SimArgs::default()
        };
        assert_eq!(args.resolve().unwrap().engine.max_model_len, 896);
        let asked = SimArgs {
            max_model_len: Some(2048),
            ..args
        };
        assert!(asked.resolve().unwrap_err().to_string().contains("max_model_len"));
    }

    #[cfg(feature = "clap")]
    #[test]
    fn the_command_line_has_the_same_defaults() {
        use clap::Parser;
        #[derive(Parser)]
        struct Program {
            #[command(flatten)]
            sim: SimArgs,
        }
        assert_eq!(Program::parse_from(["sim"]).sim, SimArgs::default());
        let set = Program::parse_from([
            "sim",
            "--preset",
            "instant",
            "--speed",
            "2",
            "--no-enable-prefix-caching",
        ])
        .sim;
        assert!(!set.resolve().unwrap().engine.enable_prefix_caching);
    }
}
