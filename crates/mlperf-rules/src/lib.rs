//! The rules of an MLPerf Inference round as data and checks, independent of any server or command line.
//!
//! - [`BenchmarkSpec`]: the benchmarks (`configs/benchmarks/*.toml`, compiled in), compared with LoadGen's
//!   configuration.
//! - [`verdict`]: whether a run's result counts, whether it is official, and why not.
//! - [`compliance`]: audit files of TEST06, TEST07 and TEST09, and the check of what LoadGen then logged.
//! - [`early_stopping`]: LoadGen's early-stopping test as a forecast.
//! - [`RunRecord`] and [`Environment`]: `sut_run.json` and `environment.json`, from which a submission is made.
//!
//! # Examples
//! ```
//! use mlperf_rules::{BenchmarkSpec, RuleScenario};
//!
//! let spec = BenchmarkSpec::named("llama3_1-8b")?;
//! assert_eq!(spec.limits_in(RuleScenario::Server)?.ttft_ms, Some(2000));
//! # Ok::<(), mlperf_rules::BenchmarkError>(())
//! ```

mod benchmark;
pub mod compliance;
pub mod early_stopping;
mod environment;
pub mod files;
mod run_record;
pub mod verdict;

pub use benchmark::{
    BenchmarkError, BenchmarkSpec, Bounds, ComplianceLimits, DatasetSpec, Difference, Limits, RuleScenario,
    SampleCounts, Sampling,
};
pub use environment::{ENVIRONMENT, Environment, ProgramFacts};
pub use run_record::{RUN_RECORD, RecordError, RecordedFinding, RunKind, RunRecord, findings};
