//! The benchmarks as data: `configs/benchmarks/*.toml`, compiled in.
//!
//! LoadGen's configuration has limits and counts, while the rules define the requests and the length of
//! answers. The files contain both, and what LoadGen has too is compared before a run, so that a benchmark
//! which LoadGen configures differently is detected.

mod compare;

use std::collections::BTreeMap;
use std::fmt;

use mlperf_loadgen::{Benchmark, Mode, Scenario};
use serde::{Deserialize, Serialize};

pub use compare::Difference;

/// Pairs of (LoadGen's name, text of the file).
const FILES: &[(&str, &str)] = &[
    (
        "deepseek-r1",
        include_str!("../../../../configs/benchmarks/deepseek-r1.toml"),
    ),
    (
        "gpt-oss-120b",
        include_str!("../../../../configs/benchmarks/gpt-oss-120b.toml"),
    ),
    (
        "llama2-70b",
        include_str!("../../../../configs/benchmarks/llama2-70b.toml"),
    ),
    (
        "llama3_1-405b",
        include_str!("../../../../configs/benchmarks/llama3_1-405b.toml"),
    ),
    (
        "llama3_1-8b",
        include_str!("../../../../configs/benchmarks/llama3_1-8b.toml"),
    ),
    (
        "llama3_1-8b-edge",
        include_str!("../../../../configs/benchmarks/llama3_1-8b-edge.toml"),
    ),
    (
        "mixtral-8x7b",
        include_str!("../../../../configs/benchmarks/mixtral-8x7b.toml"),
    ),
];

/// Suffix of a benchmark's name in LoadGen for the tighter limits.
const INTERACTIVE: &str = "-interactive";

/// A file of `configs/benchmarks` that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchmarkError {
    /// There is no file for the name.
    #[error("no benchmark is called {name:?}; there are {}", known.join(", "))]
    Unknown {
        /// The name as given.
        name: String,
        /// All names.
        known: Vec<&'static str>,
    },
    /// The file is invalid; TOML's message names line and key.
    #[error("benchmark {name}: {problem}")]
    File {
        /// LoadGen's name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The benchmark is not run in the scenario.
    #[error("benchmark {name} has no {scenario} scenario; it has {}", known.join(", "))]
    Scenario {
        /// LoadGen's name.
        name: String,
        /// The requested scenario.
        scenario: RuleScenario,
        /// The scenarios of the benchmark.
        known: Vec<String>,
    },
}

/// A scenario as the rules name it: LoadGen's four, and Interactive, which LoadGen runs as Server under another
/// benchmark name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum RuleScenario {
    /// One query at a time.
    SingleStream,
    /// Several samples at a time.
    MultiStream,
    /// Poisson arrivals.
    Server,
    /// Poisson arrivals, tighter limits.
    Interactive,
    /// All at once.
    Offline,
}

impl RuleScenario {
    /// The scenario that LoadGen runs.
    pub fn loadgen(self) -> Scenario {
        match self {
            Self::SingleStream => Scenario::SingleStream,
            Self::MultiStream => Scenario::MultiStream,
            Self::Server | Self::Interactive => Scenario::Server,
            Self::Offline => Scenario::Offline,
        }
    }
}

impl fmt::Display for RuleScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interactive => f.write_str("Interactive"),
            other => f.write_str(other.loadgen().as_str()),
        }
    }
}

/// One benchmark.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchmarkSpec {
    /// LoadGen's name, without `-interactive`.
    pub loadgen_name: String,
    /// The folder's name in a submission.
    pub submission_name: String,
    /// The model on the Hugging Face hub.
    pub model: String,
    /// The first round that no longer has the benchmark.
    pub dropped_in: Option<String>,
    /// Compliance tests required in the closed division.
    #[serde(default)]
    pub compliance: Vec<String>,
    /// Limits of those compliance tests that have their own, by the test's name.
    #[serde(default)]
    pub compliance_limits: BTreeMap<String, ComplianceLimits>,
    /// Scenarios in which speculative decoding is allowed.
    #[serde(default)]
    pub speculative_decoding: Vec<RuleScenario>,
    /// The dataset of the prompts.
    pub dataset: DatasetSpec,
    /// Sample counts.
    pub samples: SampleCounts,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// The scenarios, with their limits.
    pub limits: BTreeMap<RuleScenario, Limits>,
    /// Limits of an accuracy run, by the measure's name.
    #[serde(default)]
    pub accuracy: BTreeMap<String, Bounds>,
}

/// File and columns of a dataset.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// File name as published.
    pub file: String,
    /// File of accuracy runs, if it is a different one.
    pub accuracy_file: Option<String>,
    /// Column of the prompt's text.
    pub input_text: String,
    /// Column of the prompt's token ids, which are sent instead of the text if present.
    pub input_ids: Option<String>,
    /// Column of the reference answer.
    pub reference: String,
    /// The text is passed through the model's chat template.
    #[serde(default)]
    pub chat_template: bool,
}

/// Sample counts according to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleCounts {
    /// Size of the performance set.
    pub performance: u64,
    /// Number of samples in an accuracy run.
    pub accuracy: u64,
    /// Smallest number of samples in an Offline run.
    pub offline_min: u64,
}

/// Sampling parameters according to the rules.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Temperature; 0 is greedy.
    pub temperature: f64,
    /// Probability mass of nucleus sampling.
    pub top_p: f64,
    /// Number of most likely tokens that are considered; all if absent.
    pub top_k: Option<u32>,
    /// Seed of the reference implementation.
    pub seed: Option<u64>,
    /// Fewest output tokens.
    pub min_tokens: u32,
    /// Most output tokens.
    pub max_tokens: u32,
    /// Most output tokens of an accuracy run, if different.
    pub accuracy_max_tokens: Option<u32>,
    /// The model's own end-of-sequence ids, for TEST06.
    #[serde(default)]
    pub end_ids: Vec<i32>,
}

impl Sampling {
    /// Most output tokens of a run in a mode.
    pub fn max_tokens_in(&self, mode: Mode) -> u32 {
        match mode {
            Mode::Accuracy => self.accuracy_max_tokens.unwrap_or(self.max_tokens),
            _ => self.max_tokens,
        }
    }
}

/// Latency limits of a scenario, at the 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Time to first token, ms.
    pub ttft_ms: Option<u64>,
    /// Time per output token, ms.
    pub tpot_ms: Option<u64>,
}

/// The sample set of a compliance test and the limits of its figure.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComplianceLimits {
    /// Number of samples in the set, all of which are answered.
    pub samples: u64,
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
}

/// Least and greatest value of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
}

impl Bounds {
    /// Whether a value is within the bounds.
    pub fn hold(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

impl BenchmarkSpec {
    /// LoadGen's names of all benchmarks that have a file.
    pub fn names() -> Vec<&'static str> {
        FILES.iter().map(|(name, _)| *name).collect()
    }

    /// The benchmark with LoadGen's name, with or without `-interactive`.
    ///
    /// # Errors
    /// [`BenchmarkError::Unknown`].
    pub fn named(name: &str) -> Result<Self, BenchmarkError> {
        let base = name.strip_suffix(INTERACTIVE).unwrap_or(name);
        let (_, text) =
            FILES
                .iter()
                .find(|(known, _)| *known == base)
                .ok_or_else(|| BenchmarkError::Unknown {
                    name: name.to_owned(),
                    known: Self::names(),
                })?;
        let spec = Self::parse(base, text)?;
        if name != base {
            spec.limits_in(RuleScenario::Interactive)?;
        }
        Ok(spec)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`BenchmarkError::File`] for unknown keys, wrong types, and numbers that contradict each other.
    pub fn parse(name: &str, text: &str) -> Result<Self, BenchmarkError> {
        let bad = |problem: String| BenchmarkError::File {
            name: name.to_owned(),
            problem,
        };
        let spec: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        if spec.loadgen_name != name {
            return Err(bad(format!("the file is about {}", spec.loadgen_name)));
        }
        let Sampling {
            min_tokens,
            max_tokens,
            ..
        } = spec.sampling;
        if min_tokens == 0 || min_tokens > max_tokens {
            return Err(bad(format!(
                "{min_tokens} to {max_tokens} output tokens is no range"
            )));
        }
        for (scenario, limits) in &spec.limits {
            let judged = scenario.loadgen() == Scenario::Server;
            if (limits.ttft_ms.is_some(), limits.tpot_ms.is_some()) != (judged, judged) {
                let wanted = if judged { "both limits" } else { "no limits" };
                return Err(bad(format!("{scenario} needs {wanted}")));
            }
        }
        if spec.limits.is_empty() {
            return Err(bad("there is no scenario".to_owned()));
        }
        Ok(spec)
    }

    /// The limits of one of the benchmark's scenarios.
    ///
    /// # Errors
    /// [`BenchmarkError::Scenario`].
    pub fn limits_in(&self, scenario: RuleScenario) -> Result<Limits, BenchmarkError> {
        self.limits
            .get(&scenario)
            .copied()
            .ok_or_else(|| BenchmarkError::Scenario {
                name: self.loadgen_name.clone(),
                scenario,
                known: self.limits.keys().map(ToString::to_string).collect(),
            })
    }

    /// Whether the round requires a compliance test for the benchmark.
    pub fn asks(&self, test: &str) -> bool {
        self.compliance.iter().any(|asked| asked == test)
    }

    /// The limits of a compliance test; unlimited if it has none of its own.
    pub fn compliance_limits(&self, test: &str) -> ComplianceLimits {
        self.compliance_limits.get(test).copied().unwrap_or_default()
    }

    /// The benchmark name that LoadGen uses for a scenario.
    ///
    /// # Errors
    /// [`mlperf_loadgen::Error::UnknownBenchmark`] if LoadGen does not know it.
    pub fn loadgen_benchmark(&self, scenario: RuleScenario) -> Result<Benchmark, mlperf_loadgen::Error> {
        match scenario {
            RuleScenario::Interactive => Benchmark::named(&format!("{}{INTERACTIVE}", self.loadgen_name)),
            _ => Benchmark::named(&self.loadgen_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_scenarios_that_do_not_exist_are_refused() {
        let error = |name: &str| BenchmarkSpec::named(name).unwrap_err().to_string();
        assert!(
            error("llama3.1-8b")
                .starts_with("no benchmark is called \"llama3.1-8b\"; there are deepseek-r1, ")
        );
        assert_eq!(
            error("mixtral-8x7b-interactive"),
            "benchmark mixtral-8x7b has no Interactive scenario; it has Server, Offline"
        );
        assert!(BenchmarkSpec::named("llama2-70b-interactive").is_ok());
    }

    #[test]
    fn wrong_files_are_refused_with_the_key() {
        let text = FILES[4].1;
        let error = |from: &str, to: &str| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            BenchmarkSpec::parse("llama3_1-8b", &changed)
                .unwrap_err()
                .to_string()
        };
        assert!(error("ttft_ms", "ttft_msec").contains("ttft_msec"));
        assert!(error("max_tokens = 128", "max_tokens = 0").contains("1 to 0 output tokens"));
        assert!(error("ttft_ms = 2000\n", "").contains("Server needs both limits"));
        assert!(error("[limits.Offline]", "[limits.Offlin]").contains("Offlin"));
        assert!(error("llama3_1-8b", "llama3_1-9b").contains("the file is about llama3_1-9b"));
    }

    #[test]
    fn accuracy_runs_have_their_own_length_and_bounds() {
        let spec = BenchmarkSpec::named("gpt-oss-120b").unwrap();
        assert_eq!(spec.sampling.max_tokens_in(Mode::Performance), 10_240);
        assert_eq!(spec.sampling.max_tokens_in(Mode::Accuracy), 32_768);
        assert!(!spec.accuracy["exact_match"].hold(82.0) && spec.accuracy["tokens_per_sample"].hold(9000.0));
    }
}
