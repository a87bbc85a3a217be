//! The outcome of a run's compliance test: from LoadGen's log where possible, otherwise from the file that
//! the run wrote.

use mlperf_rules::compliance::{ComplianceTest, Verified, answers_are_long_enough, verify};
use mlperf_rules::files::ACCURACY_LOG;
use mlperf_rules::{BenchmarkSpec, RuleScenario};

use super::runs::Run;

/// The outcome, or the reason why there is none.
pub(super) fn outcome(
    run: &Run,
    test: ComplianceTest,
    spec: &BenchmarkSpec,
    scenario: RuleScenario,
) -> Result<Verified, String> {
    let log = run.folder.join(ACCURACY_LOG);
    let found = match test {
        ComplianceTest::Test06 => {
            let offline = scenario == RuleScenario::Offline;
            verify(&log, offline, &spec.sampling.end_ids).map(|found| found.outcome())
        }
        ComplianceTest::Test09 => answers_are_long_enough(&log, &spec.compliance_limits(test.name())),
        // The log contains token ids, but whether an answer is right depends on its text.
        ComplianceTest::Test07 => return as_left(run, test),
    };
    found.map_err(|error| error.to_string())
}

fn as_left(run: &Run, test: ComplianceTest) -> Result<Verified, String> {
    let path = run.folder.join(test.outcome_file());
    let text = std::fs::read_to_string(&path).map_err(|error| {
        format!(
            "{}: {error}; the run was not verified: let MLCommons' script write it",
            path.display()
        )
    })?;
    let passed = text.lines().any(|line| line.trim() == "TEST PASS");
    let word = if passed { "passed" } else { "failed" };
    Ok(Verified {
        passed,
        sentence: format!("{test} {word}, says {}", path.display()),
        text,
    })
}
