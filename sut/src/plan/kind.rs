//! Benchmark, scenario and kind of run, from the flags that determine them together.

use mlperf_loadgen::{Benchmark, Mode};
use mlperf_rules::compliance::ComplianceTest;
use mlperf_rules::{BenchmarkSpec, RuleScenario, RunKind};

use super::{BENCHMARK, Plan, ServerPlan};
use crate::cli::{ComplianceArg, ModeArg, RunArgs};

/// Suffix of a benchmark's name in LoadGen for the tighter limits.
const INTERACTIVE: &str = "-interactive";

/// Benchmark and scenario. The rules define Interactive as a scenario, LoadGen as a benchmark name with a
/// suffix; either form may be given.
pub(super) fn benchmark(args: &RunArgs, wrong: &mut Vec<String>) -> (Option<BenchmarkSpec>, RuleScenario) {
    let name = args.lg_model_name.as_deref().unwrap_or(BENCHMARK);
    let asked = args.scenario.map(RuleScenario::from);
    let (base, scenario) = match name.strip_suffix(INTERACTIVE) {
        Some(base) => {
            if let Some(other) =
                asked.filter(|other| !matches!(other, RuleScenario::Server | RuleScenario::Interactive))
            {
                wrong.push(format!(
                    "--lg-model-name {name}: it is the benchmark of the Interactive scenario, and --scenario is {other}; \
                     give --lg-model-name {base}"
                ));
            }
            (base, RuleScenario::Interactive)
        }
        None if args.find_peak => (name, asked.unwrap_or(RuleScenario::Server)),
        None => (name, asked.unwrap_or(RuleScenario::Offline)),
    };
    let spec = match BenchmarkSpec::named(base) {
        Ok(spec) => Some(spec),
        // LoadGen suggests names that it knows; only those with rules are valid here.
        Err(error) => {
            wrong.push(format!("--lg-model-name: {error}"));
            None
        }
    };
    (spec, scenario)
}

/// LoadGen's mode. For `both` it is the first one, since the accuracy run is a separate process.
pub(super) fn mode(args: &RunArgs) -> Mode {
    match args.test_mode {
        Some(ModeArg::Accuracy) => Mode::Accuracy,
        None | Some(ModeArg::Performance | ModeArg::Both) => Mode::Performance,
    }
}

/// The compliance test to run.
pub(super) fn compliance(args: &RunArgs, wrong: &mut Vec<String>) -> Option<ComplianceTest> {
    let asked = args.compliance.and_then(ComplianceArg::test);
    if asked.is_some() && args.audit_config.is_some() {
        wrong.push("--compliance writes its audit.config itself: leave --audit-config out".into());
    }
    let audited = asked.is_some() || args.audit_config.is_some();
    if audited && args.test_mode == Some(ModeArg::Accuracy) {
        wrong.push(
            "--compliance and --audit-config are for timed runs: leave --test-mode accuracy out".into(),
        );
    }
    if args.audit_config.is_some() && args.test_mode == Some(ModeArg::Both) {
        wrong.push(
            "--test-mode both: the performance run must have no audit file; for a test behind it give --compliance \
             instead of --audit-config"
                .into(),
        );
    }
    asked
}

/// Whether the simulator can answer as requested.
pub(super) fn references(args: &RunArgs, server: &ServerPlan, wrong: &mut Vec<String>) {
    if !args.simulate_references {
        return;
    }
    if !matches!(server, ServerPlan::Simulator | ServerPlan::Inherited(_)) {
        wrong.push(
            "--simulate-references is for the built-in simulator: leave --url and --model out (a simulator of its own \
             is started by: sut sim --references DATASET)"
                .into(),
        );
    }
    if args.dataset_path.is_none() {
        wrong.push("--simulate-references: give the dataset with --dataset-path".into());
    }
}

impl Plan {
    /// LoadGen's benchmark, which has a separate name for the tighter limits.
    ///
    /// # Errors
    /// When LoadGen does not know it.
    pub(crate) fn loadgen_benchmark(&self) -> Result<Benchmark, mlperf_loadgen::Error> {
        self.benchmark.loadgen_benchmark(self.scenario)
    }

    /// The benchmark's name for LoadGen.
    pub(crate) fn loadgen_name(&self) -> String {
        match self.scenario {
            RuleScenario::Interactive => format!("{}{INTERACTIVE}", self.benchmark.loadgen_name),
            _ => self.benchmark.loadgen_name.clone(),
        }
    }

    /// Whether an audit file is in effect.
    pub(crate) fn is_compliance(&self) -> bool {
        self.compliance.is_some() || self.audit_config.is_some()
    }

    /// The kind of run in the records.
    pub(crate) fn kind(&self) -> RunKind {
        match (self.mode, self.is_compliance()) {
            (Mode::Accuracy, _) => RunKind::Accuracy,
            (_, true) => RunKind::Compliance,
            (_, false) => RunKind::Performance,
        }
    }

    /// Whether the texts of the answers are kept, which has a small cost.
    pub(crate) fn keeps_texts(&self) -> bool {
        self.mode == Mode::Accuracy || self.compliance == Some(ComplianceTest::Test07)
    }
}
