//! A simulated vLLM server: continuous batching, KV blocks, metrics, faults. Deterministic from a seed.
//!
//! It has three layers, each independent of the one above it:
//!
//! - the **engine**, a pure state machine in virtual time: paged KV blocks with reference counts and a prefix cache,
//!   a scheduler with chunked prefill and recompute preemption, and a step-time model whose constants are
//!   [`StepModel`]'s fields, with their origin;
//! - the **driver**, one thread per engine, which sleeps to the end of each step and then delivers its
//!   tokens;
//! - the **server**, which implements the OpenAI completions and chat routes, streamed or not, and the
//!   metrics page of vLLM 0.32: same names, types, labels and buckets ([`LEFT_OUT`] lists the exceptions).
//!
//! Without driver and HTTP the engine runs in virtual time: [`virtual_time`].
//!
//! # Controls
//!
//! - [`SimConfig::dev_mode`] enables vLLM's development routes: `/pause`, `/resume`, `/is_paused`, `/sleep`,
//!   `/wake_up`, `/is_sleeping`, `/reset_prefix_cache`, `/reset_mm_cache`, `/reset_encoder_cache`,
//!   `/abort_requests`, `/server_info`, with vLLM's parameters and defaults.
//! - `/v1/monitor/levers` reads and sets the limits of scheduler and admission ([`Lever`]), each for a
//!   limited time; `/v1/monitor/abort` ends requests by age or length. `docs/acting.md` defines the bodies.
//! - `/sim/faults` accepts fault rules ([`faults`]).
//!
//! The last two need [`SimConfig::control_token`]. Requests for a host name that is not `localhost` or in
//! [`SimConfig::allowed_hosts`], and changing requests from another site's web page, get status 403 on every route.
//!
//! # What is simulated
//!
//! Scheduling, block accounting, preemption and every counter work as in the real server; only the model is
//! missing. An answer's tokens are a pure function of the seed, the prompt and the request's own `seed`,
//! independent of other requests, so two servers with one seed give the same answers. The time of each token
//! depends on the order in which requests arrive.
//!
//! Not simulated, and rejected with status 400: `n` above 1, `echo`, log probabilities, `suffix`, tools, beam
//! search. Sampling parameters and stop strings are accepted and have no effect.
//!
//! ```
//! use vllm_sim::{EngineConfig, SimConfig, Simulator};
//!
//! let simulator = Simulator::start(SimConfig { engine: EngineConfig::instant(), ..SimConfig::default() })?;
//! assert!(simulator.url().starts_with("http://127.0.0.1:"));
//! simulator.stop();
//! # Ok::<(), vllm_sim::Error>(())
//! ```

mod admission;
mod args;
mod clock;
mod config;
mod control;
mod driver;
mod engine;
mod error;
pub mod faults;
mod gpus;
mod histogram;
mod http;
mod instance;
mod levers;
mod metrics;
mod rng;
mod simulator;
mod threads;
mod tokens;
pub mod virtual_time;

pub use args::SimArgs;
pub use config::{
    ControlToken, EngineConfig, MetricsStyle, OutputLength, ReferenceAnswer, SimConfig, StepModel,
};
pub use engine::{FinishReason, PauseMode};
pub use error::{Error, Result};
pub use faults::{Fault, FaultParseError, FaultRule, When};
pub use levers::{Lever, LeverSetting};
pub use metrics::LEFT_OUT;
pub use simulator::Simulator;
pub use tokens::EOS_TOKEN;
