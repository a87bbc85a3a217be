//! Settings and environment of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How load arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// MLPerf Server: requests arrive at random times of a schedule, whatever the server does.
    Server,
    /// MLPerf Interactive: as Server, with tighter limits.
    Interactive,
    /// MLPerf Offline: all requests are issued at once.
    Offline,
    /// MLPerf SingleStream: one request at a time.
    SingleStream,
    /// MLPerf MultiStream: one group of requests at a time.
    MultiStream,
    /// A fixed number of requests in flight.
    Concurrency,
}

impl Scenario {
    /// Whether requests arrive by a schedule that does not wait for answers.
    pub fn is_scheduled(self) -> bool {
        matches!(self, Self::Server | Self::Interactive)
    }

    /// The name a user knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Interactive => "Interactive",
            Self::Offline => "Offline",
            Self::SingleStream => "SingleStream",
            Self::MultiStream => "MultiStream",
            Self::Concurrency => "fixed concurrency",
        }
    }
}

/// In which number format the matrix products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MathFormat {
    /// bfloat16 or float16.
    Bf16,
    /// 8-bit floating point.
    Fp8,
}

/// Of a mixture-of-experts model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Experts {
    /// Experts whose weights a typical step reads, over all tokens of the step.
    pub touched_per_step: f64,
    /// Experts that one token uses.
    pub per_token: f64,
}

/// Settings and environment of a run. What is not known is `None` or missing from its map.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// What sentences call the run, such as the name of its file.
    pub name: String,
    /// How load arrives.
    pub scenario: Scenario,
    /// The server or its GPUs were simulated.
    pub simulated: bool,
    /// Model.
    pub model: Option<String>,
    /// Name of the dataset; decides where neither of two runs has a hash.
    pub dataset: Option<String>,
    /// Hash of the dataset's content.
    pub dataset_hash: Option<String>,
    /// Requests per second that the schedule aims at.
    pub target_qps: Option<f64>,
    /// Requests in flight that the load generator keeps up.
    pub concurrency: Option<u32>,
    /// Version of vLLM.
    pub vllm_version: Option<String>,
    /// Server arguments that change how much work there is, by flag name without dashes: `max-model-len`, `dtype`,
    /// `tensor-parallel-size`, `enable-prefix-caching` and so on.
    pub server_arguments: BTreeMap<String, String>,
    /// Name of the GPUs as the driver gives it.
    pub gpu_name: Option<String>,
    /// Number of GPUs.
    pub gpu_count: Option<u32>,
    /// What may move a result without changing the work: driver, clock settings, governor, host, seed.
    pub environment: BTreeMap<String, String>,

    /// Limit on the time to first token, in seconds.
    pub ttft_limit_secs: Option<f64>,
    /// Limit on the time per output token, in seconds.
    pub tpot_limit_secs: Option<f64>,

    /// Most sequences in one step.
    pub max_num_seqs: Option<u32>,
    /// Most tokens in one step.
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens whose keys and values fit.
    pub kv_capacity_tokens: Option<f64>,
    /// Bytes per weight: 2 for 16-bit, 1 for 8-bit, 0.5 for 4-bit weights.
    pub weight_bytes: Option<f64>,
    /// Number format of the matrix products.
    pub math: Option<MathFormat>,
    /// Set for mixture-of-experts models.
    pub experts: Option<Experts>,

    /// Cores that the client's process may use.
    pub client_cores_granted: Option<f64>,
    /// Client and server are on one host.
    pub loopback: Option<bool>,
    /// Time that a scrape takes while the server is idle, in seconds.
    pub idle_scrape_secs: Option<f64>,

    /// Share of time in which work on the client's host waited for a processor (pressure stall information), 0 to 1.
    pub host_cpu_pressure_ratio: Option<f64>,
    /// Share of processor time that the hypervisor took away, 0 to 1.
    pub host_steal_ratio: Option<f64>,
}

impl RunFacts {
    /// Facts with nothing known but a name and how load arrives.
    pub fn new(name: impl Into<String>, scenario: Scenario) -> Self {
        Self {
            name: name.into(),
            scenario,
            simulated: false,
            model: None,
            dataset: None,
            dataset_hash: None,
            target_qps: None,
            concurrency: None,
            vllm_version: None,
            server_arguments: BTreeMap::new(),
            gpu_name: None,
            gpu_count: None,
            environment: BTreeMap::new(),
            ttft_limit_secs: None,
            tpot_limit_secs: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            kv_capacity_tokens: None,
            weight_bytes: None,
            math: None,
            experts: None,
            client_cores_granted: None,
            loopback: None,
            idle_scrape_secs: None,
            host_cpu_pressure_ratio: None,
            host_steal_ratio: None,
        }
    }
}
