//! Whether a run is fit for a submission. LoadGen's logs are judged again, since they are what is submitted;
//! what only the run itself could observe comes from its record.

use mlperf_accuracy::{CheckedFigure, check_limits, figures_of};
use mlperf_loadgen::{LoadGenLog, Mode, TestSettings};
use mlperf_rules::files::ACCURACY_TXT;
use mlperf_rules::verdict::{self, Check, Evidence};
use mlperf_rules::{BenchmarkSpec, RuleScenario, RunKind};

use super::outcomes::outcome;
use super::request::Division;
use super::runs::{Run, Runs, ScenarioRuns};

/// Checks whose outcome is in the record only, not in the logs.
const OF_THE_RUN: [Check; 4] = [
    Check::EveryQueryAnswered,
    Check::ClientKeptUp,
    Check::NoPrefixCaching,
    Check::RealServer,
];

/// All reasons against a submission, one clause each. A simulated server is not one of them, since such runs
/// are marked anyway.
pub(super) fn reasons(runs: &Runs, spec: &BenchmarkSpec, division: Division) -> Vec<String> {
    let mut reasons = Vec::new();
    for (scenario, of_scenario) in &runs.scenarios {
        for run in of_scenario.all() {
            let about = |what: String| format!("{scenario} {}: {what}", run.record.kind.as_str());
            reasons.extend(of_run(run, spec, *scenario).into_iter().map(about));
        }
        if spec.limits_in(*scenario).is_err() {
            reasons.push(format!("{} has no {scenario} scenario", spec.loadgen_name));
        }
        reasons.extend(accuracy(of_scenario, spec, *scenario));
        reasons.extend(compliance(of_scenario, spec, *scenario, division));
        reasons.extend(apart(of_scenario).map(|what| format!("{scenario}: {what}")));
    }
    if division == Division::Closed {
        reasons.extend(missing_scenarios(runs, spec));
    }
    reasons
}

fn of_run(run: &Run, spec: &BenchmarkSpec, scenario: RuleScenario) -> Vec<String> {
    let log = match LoadGenLog::read(&run.folder) {
        Ok(log) => log,
        Err(error) => return vec![error.to_string()],
    };
    let round = spec
        .loadgen_benchmark(scenario)
        .and_then(|benchmark| TestSettings::from_config(&benchmark, scenario.loadgen(), None));
    let round = match round {
        Ok((round, _)) => round,
        Err(error) => return vec![error.to_string()],
    };
    if log.result.effective.get("scenario").and_then(|s| s.as_str()) != Some(scenario.loadgen().as_str()) {
        return vec![format!("its logs are not of {}", scenario.loadgen())];
    }
    let verdict = verdict::judge(&Evidence {
        result: &log.result,
        incidents: None,
        round: &round,
        issue_delay: None,
        simulated: false,
        prefix_caching: None,
    });
    // A run under an audit file is short and INVALID to early stopping, so neither is checked.
    let asked_of_compliance = [Check::Ended, Check::NoErrors, Check::Seeds, Check::LoadGenBuild];
    let mut reasons: Vec<String> = verdict
        .bad()
        .filter(|finding| !OF_THE_RUN.contains(&finding.check))
        .filter(|finding| {
            run.record.kind != RunKind::Compliance || asked_of_compliance.contains(&finding.check)
        })
        .map(|finding| finding.what.clone())
        .collect();
    if run.record.kind == RunKind::Compliance && !log.result.audit_config_found {
        reasons.push("no audit configuration was in effect".into());
    }
    // LoadGen does not know the maximum length of an answer, so its logs do not show that answers were
    // truncated.
    let mode = match run.record.kind {
        RunKind::Accuracy => Mode::Accuracy,
        RunKind::Performance | RunKind::Compliance => Mode::Performance,
    };
    let longest = spec.sampling.max_tokens_in(mode);
    if run.record.max_tokens != longest {
        reasons.push(format!(
            "answers had at most {} tokens, where the rules have {longest}",
            run.record.max_tokens
        ));
    }
    let told = OF_THE_RUN
        .iter()
        .filter(|check| **check != Check::RealServer)
        .map(|check| check.name());
    let told: Vec<&str> = told.collect();
    reasons.extend(
        run.record
            .findings
            .iter()
            .filter(|finding| told.contains(&finding.check.as_str()))
            // Keeping up with a schedule does not matter where no latency is judged.
            .filter(|finding| {
                run.record.kind == RunKind::Performance || finding.check != Check::ClientKeptUp.name()
            })
            .map(|finding| finding.what.clone()),
    );
    reasons
}

fn accuracy(runs: &ScenarioRuns, spec: &BenchmarkSpec, scenario: RuleScenario) -> Vec<String> {
    let path = runs.accuracy.folder.join(ACCURACY_TXT);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            return vec![format!(
                "{scenario} accuracy: {}: {error}; score the run (sut score --run {}), or let the benchmark's own \
                 script write it",
                path.display(),
                runs.accuracy.folder.display()
            )];
        }
    };
    let checked = check_limits(&figures_of(&text), &spec.accuracy);
    checked
        .iter()
        .filter(|figure| spec.accuracy.contains_key(&figure.name) && figure.holds() != Some(true))
        .map(|figure| format!("{scenario} accuracy: {}", CheckedFigure::words(figure)))
        .collect()
}

fn compliance(
    runs: &ScenarioRuns,
    spec: &BenchmarkSpec,
    scenario: RuleScenario,
    division: Division,
) -> Vec<String> {
    let asked = if division == Division::Closed {
        spec.compliance.as_slice()
    } else {
        &[]
    };
    let has = |name: &String| runs.compliance.keys().any(|test| test.name() == name);
    let mut reasons: Vec<String> = asked
        .iter()
        .filter(|name| !has(name))
        .map(|name| format!("{scenario} has no run of {name}"))
        .collect();
    for (test, run) in &runs.compliance {
        match outcome(run, *test, spec, scenario) {
            Ok(found) if found.passed => {}
            Ok(found) => reasons.push(format!("{scenario}: {}", found.sentence)),
            Err(why) => reasons.push(format!("{scenario} {test}: {why}")),
        }
    }
    reasons
}

/// Differences between the runs of one scenario, which must be of the same system.
fn apart(runs: &ScenarioRuns) -> impl Iterator<Item = String> {
    let first = &runs.performance.record;
    runs.all().skip(1).filter_map(move |run| {
        let (a, b) = (first, &run.record);
        let kind = b.kind.as_str();
        if a.model != b.model {
            return Some(format!(
                "the performance run was of the model {}, the {kind} run of {}",
                a.model, b.model
            ));
        }
        if a.server_version != b.server_version {
            let version = |v: &Option<String>| v.clone().unwrap_or_else(|| "unknown".into());
            return Some(format!(
                "the performance run was on server version {}, the {kind} run on {}",
                version(&a.server_version),
                version(&b.server_version)
            ));
        }
        (a.simulated != b.simulated)
            .then(|| format!("of the performance and the {kind} run one was simulated"))
    })
}

fn missing_scenarios(runs: &Runs, spec: &BenchmarkSpec) -> Vec<String> {
    let has = |scenario: &RuleScenario| runs.scenarios.contains_key(scenario);
    let arrivals = [RuleScenario::Server, RuleScenario::Interactive];
    let offers = |scenario: &RuleScenario| spec.limits.contains_key(scenario);
    let mut missing: Vec<String> = spec
        .limits
        .keys()
        .filter(|scenario| !arrivals.contains(scenario) && !has(scenario))
        .map(|scenario| format!("a closed submission of {} needs {scenario}", spec.loadgen_name))
        .collect();
    if arrivals.iter().any(offers) && !arrivals.iter().any(has) {
        missing.push(format!(
            "a closed submission of {} needs Server or Interactive",
            spec.loadgen_name
        ));
    }
    missing
}
