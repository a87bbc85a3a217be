//! A server that looks like vLLM from outside: continuous batching, KV blocks, metrics, faults. Deterministic from a seed.
//!
//! It is three things, each usable to the one above it and ignorant of it:
//!
//! - the **engine**, a pure state machine in virtual time: paged KV blocks with reference counts and a prefix cache,
//!   a scheduler with chunked prefill and recompute preemption, and a step-time model whose constants are
//!   [`StepModel`]'s fields, with their origin;
//! - the **driver**, one thread per engine, which sleeps to the end of each step and hands its tokens out in one go;
//! - the **server**, which speaks the OpenAI completions and chat routes, streamed or not, and shows the metrics page
//!   of vLLM 0.32: same names, types, labels and buckets ([`LEFT_OUT`] lists what is not there).
//!
//! What is real and what is not: scheduling, block accounting, preemption and every counter are done as the real
//! server does them; only the model is missing. An answer's tokens are a pure function of the seed, the prompt and
//! the request's own `seed`, whatever else runs, so two servers of one seed answer alike; when each token leaves
//! depends on the order in which requests arrive.
//!
//! Not simulated, and refused with status 400: `n` above 1, `echo`, log probabilities, `suffix`, tools, beam search.
//! Sampling parameters and stop strings are accepted and have no effect.
//!
//! ```
//! use vllm_sim::{EngineConfig, SimConfig, Simulator};
//!
//! let simulator = Simulator::start(SimConfig { engine: EngineConfig::instant(), ..SimConfig::default() })?;
//! assert!(simulator.url().starts_with("http://127.0.0.1:"));
//! simulator.stop();
//! # Ok::<(), vllm_sim::Error>(())
//! ```

mod args;
mod config;
mod control;
mod driver;
mod engine;
mod error;
pub mod faults;
mod gpus;
mod http;
mod life;
mod metrics;
mod rng;
mod simulator;
mod tokens;

pub use args::SimArgs;
pub use config::{EngineConfig, MetricsStyle, OutputLength, ReferenceAnswer, SimConfig, StepModel};
pub use error::{Error, Result};
pub use faults::{Fault, FaultParseError, FaultRule, When};
pub use metrics::LEFT_OUT;
pub use simulator::Simulator;
pub use tokens::EOS_TOKEN;
