//! Cases of a campaign, as a file holds them.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use vllm_sim::EngineConfig;

/// A file of cases. Each runs at every seed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// The first seed.
    pub first_seed: u64,
    /// Seeds of each case.
    pub seeds: u64,
    /// Length of the matched healthy run, as a multiple of the fault run.
    pub healthy_factor: f64,
    /// The cases.
    pub case: Vec<Case>,
}

/// One fault under one traffic.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name, in one word for files.
    pub name: String,
    /// The simulated server, as `vllm-sim` names it.
    pub preset: String,
    /// Places in the batch; the preset's if not given.
    pub max_num_seqs: Option<u32>,
    /// KV blocks; the preset's if not given.
    pub num_gpu_blocks: Option<u32>,
    /// `--max-num-queued-reqs`.
    pub max_num_queued_reqs: Option<u32>,
    /// Requests per second before the onset.
    pub rate_per_s: f64,
    /// Requests per second that the load has reached `ramp_secs` after the onset; unchanged if not given.
    pub rate_after_per_s: Option<f64>,
    /// Range of the ramp's length, from which each run draws, in seconds.
    #[serde(default)]
    pub ramp_secs: (f64, f64),
    /// Median length of prompts, in tokens; log-normal.
    pub prompt_tokens: f64,
    /// Median length of answers, in tokens; log-normal.
    pub output_tokens: f64,
    /// Sigma of both.
    #[serde(default = "half")]
    pub sigma: f64,
    /// Range from which the onset is drawn, in seconds.
    pub onset_secs: (f64, f64),
    /// Length of the run after the onset, in seconds.
    pub after_secs: f64,
    /// Time between the monitor's own requests; none if not given.
    pub canary_secs: Option<f64>,
    /// What is done at the onset.
    pub fault: Fault,
    /// Its size: percent of a step's time (`slow`), share of probes hit (`network`), bytes per second (`host_memory`).
    pub size: Option<f64>,
    /// What has to be found; absent where nothing must be.
    pub finds: Option<Finds>,
    /// What the baselines look for where nothing must be found: `error` if not given.
    pub baselines: Option<Finds>,
}

fn half() -> f64 {
    0.5
}

/// What is done at the onset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing: only the traffic changes, if at all.
    None,
    /// The engine dies; the front end answers 503.
    EngineKill,
    /// The server is gone.
    ServerKill,
    /// The engine makes no steps any more.
    Hang,
    /// The API process accepts connections and answers nothing.
    ApiHang,
    /// A requested stop, then the end.
    Stop,
    /// Steps take longer at equal load.
    Slow,
    /// One prompt of the longest length.
    LongPrompt,
    /// The server's processes take more and more memory of the machine.
    HostMemory,
    /// Connections take long.
    NetworkDelay,
    /// Connections are not made in time.
    NetworkDrop,
    /// Connections are reset.
    NetworkReset,
    /// Pages end early.
    NetworkTruncate,
    /// The metrics get their older names.
    OldNames,
    /// The server's counters start again: an unseen restart.
    Restart,
    /// The monitor ends and starts again with its saved state.
    MonitorRestart,
}

/// What has to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finds {
    /// The state ERROR.
    Error,
    /// Degradation at equal load.
    Degradation,
    /// Preemptions, before they begin.
    KvPreemption,
    /// Refused requests, before they are.
    QueueOverflow,
    /// The end of the machine's memory, before it comes.
    HostMemory,
    /// A network fault, and no ERROR.
    Network,
}

impl Finds {
    /// Whether an alarm has to come before the onset.
    pub fn is_predicted(self) -> bool {
        matches!(self, Self::KvPreemption | Self::QueueOverflow | Self::HostMemory)
    }

    /// The word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Degradation => "degradation",
            Self::KvPreemption => "kv_preemption",
            Self::QueueOverflow => "queue_overflow",
            Self::HostMemory => "host_memory",
            Self::Network => "network",
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Error,
        Self::Degradation,
        Self::KvPreemption,
        Self::QueueOverflow,
        Self::HostMemory,
        Self::Network,
    ];
}

impl Campaign {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Names the file, and the case with the value that cannot be run.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let campaign: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(
            (1.0..=100.0).contains(&campaign.healthy_factor) && (1..=10_000).contains(&campaign.seeds),
            "{}: healthy_factor must be 1 to 100, seeds 1 to 10000",
            path.display()
        );
        for case in &campaign.case {
            case.check()
                .with_context(|| format!("{}: case `{}`", path.display(), case.name))?;
        }
        Ok(campaign)
    }
}

impl Case {
    fn check(&self) -> Result<()> {
        let range = |(low, high): (f64, f64)| low >= 0.0 && low <= high && high <= 1e5;
        ensure!(
            range(self.onset_secs) && range(self.ramp_secs) && (1.0..=1e5).contains(&self.after_secs),
            "onset_secs, ramp_secs and after_secs must be ascending and at most 100000"
        );
        let rates = [Some(self.rate_per_s), self.rate_after_per_s];
        ensure!(
            rates
                .into_iter()
                .flatten()
                .all(|rate| (0.0..=1e4).contains(&rate)),
            "rates must be 0 to 10000 per second"
        );
        self.engine(0)?;
        Ok(())
    }

    /// The engine of one seed.
    ///
    /// # Errors
    /// If `vllm-sim` refuses it.
    pub fn engine(&self, seed: u64) -> Result<EngineConfig> {
        let preset = EngineConfig::preset(&self.preset)?;
        let engine = EngineConfig {
            seed,
            max_num_seqs: self.max_num_seqs.unwrap_or(preset.max_num_seqs),
            num_gpu_blocks: self.num_gpu_blocks.unwrap_or(preset.num_gpu_blocks),
            ..preset
        };
        engine.validate()?;
        Ok(engine)
    }
}
