//! Which benchmark, scenario and kind of run: flags that name one thing together.

use super::{Plan, ServerPlan};
use crate::cli::{ComplianceArg, ModeArg, RunArgs, ScenarioArg};
use mlperf_rules::RuleScenario;
use mlperf_rules::compliance::ComplianceTest;

/// What follows a benchmark's name in LoadGen for the tighter limits.
const INTERACTIVE: &str = "-interactive";

/// Benchmark and scenario. Interactive is a scenario to the rules and a benchmark's other name to LoadGen: either may
/// be given.
pub(super) fn benchmark(args: &RunArgs, wrong: &mut Vec<String>) -> (String, ScenarioArg) {
    let name = args.lg_model_name.as_deref().unwrap_or("llama3_1-8b");
    let Some(base) = name.strip_suffix(INTERACTIVE) else {
        let usual = if args.find_peak {
            ScenarioArg::Server
        } else {
            ScenarioArg::Offline
        };
        return (name.to_owned(), args.scenario.unwrap_or(usual));
    };
    match args.scenario {
        None | Some(ScenarioArg::Server | ScenarioArg::Interactive) => {}
        Some(other) => wrong.push(format!(
            "--lg-model-name {name}: it is the benchmark of the Interactive scenario, and --scenario is {other:?}; \
             give --lg-model-name {base}"
        )),
    }
    (base.to_owned(), ScenarioArg::Interactive)
}

/// Which compliance test is to be run.
pub(super) fn compliance(args: &RunArgs, wrong: &mut Vec<String>) -> Option<ComplianceTest> {
    let asked = args.compliance.and_then(|arg| match arg {
        ComplianceArg::None => None,
        ComplianceArg::Test06 => Some(ComplianceTest::Test06),
        ComplianceArg::Test07 => Some(ComplianceTest::Test07),
        ComplianceArg::Test09 => Some(ComplianceTest::Test09),
    });
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

/// Whether the simulator can answer as asked.
pub(super) fn references(args: &RunArgs, server: &ServerPlan, wrong: &mut Vec<String>) {
    if !args.simulate_references {
        return;
    }
    if *server != ServerPlan::Simulator {
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
    /// The scenario as the rules name it.
    pub fn rule_scenario(&self) -> RuleScenario {
        match self.scenario {
            ScenarioArg::Offline => RuleScenario::Offline,
            ScenarioArg::Server => RuleScenario::Server,
            ScenarioArg::Interactive => RuleScenario::Interactive,
            ScenarioArg::SingleStream => RuleScenario::SingleStream,
            ScenarioArg::MultiStream => RuleScenario::MultiStream,
        }
    }

    /// The benchmark's name for LoadGen, which has the tighter limits under a name of their own.
    pub fn loadgen_name(&self) -> String {
        match self.scenario {
            ScenarioArg::Interactive => format!("{}{INTERACTIVE}", self.benchmark),
            _ => self.benchmark.clone(),
        }
    }

    /// Whether an audit file is in effect.
    pub fn is_compliance(&self) -> bool {
        self.compliance.is_some() || self.audit_config.is_some()
    }

    /// Whether the answers' texts are wanted, which cost a little.
    pub fn keeps_texts(&self) -> bool {
        self.mode == ModeArg::Accuracy || self.compliance == Some(ComplianceTest::Test07)
    }
}
