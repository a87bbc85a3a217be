//! Evaluates the answers of a run: score and compliance.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlperf_accuracy::{ANSWERS, CheckedFigure, evaluate, score_folder, write_texts};
use mlperf_dataset::Dataset;
use mlperf_loadgen::Mode;
use mlperf_rules::RuleScenario;
use mlperf_rules::compliance::{ComplianceTest, answers_are_long_enough, answers_are_right, verify};
use mlperf_rules::files::{self, ACCURACY_LOG};

use super::outcome::RunOutcome;
use crate::plan::Plan;

/// The answers of a run, and the destination of remarks about them.
pub(super) struct Answers<'a> {
    pub(super) plan: &'a Plan,
    pub(super) dataset: &'a Dataset,
    pub(super) texts: &'a BTreeMap<usize, String>,
    /// The compliance test whose audit file was in effect.
    pub(super) test: Option<ComplianceTest>,
    pub(super) remarks: &'a mut Vec<String>,
    pub(super) files: &'a mut Vec<(&'static str, PathBuf)>,
}

impl Answers<'_> {
    /// Scores an accuracy run or verifies a compliance run; any other outcome is unchanged.
    pub(super) fn judge(&mut self, outcome: RunOutcome) -> RunOutcome {
        if self.plan.mode == Mode::Accuracy {
            // Written for a run that ended early too, since `sut score` needs them.
            self.write_answers();
        }
        match outcome {
            RunOutcome::NotScored => self.score(),
            RunOutcome::NotVerified(_) => self.verify(),
            other => other,
        }
    }

    fn score(&mut self) -> RunOutcome {
        let scored = score_folder(&self.plan.benchmark, self.dataset, &self.plan.log_dir, self.texts);
        self.remarks
            .extend(scored.figures.iter().map(CheckedFigure::words));
        let outcome = RunOutcome::Scored {
            word: scored.word(),
            counts: scored.counts(),
        };
        self.files.extend(scored.file.map(|path| ("accuracy", path)));
        self.remarks.extend(scored.remarks);
        outcome
    }

    fn verify(&mut self) -> RunOutcome {
        let spec = &self.plan.benchmark;
        let Some(test) = self.test else {
            self.remarks.push(
                "the audit file is not that of a test that this program verifies and the round asks of the benchmark"
                    .into(),
            );
            return RunOutcome::NotVerified(None);
        };
        let log = self.plan.log_dir.join(ACCURACY_LOG);
        let limits = spec.compliance_limits(test.name());
        let found = match test {
            ComplianceTest::Test06 => {
                let offline = self.plan.scenario == RuleScenario::Offline;
                verify(&log, offline, &spec.sampling.end_ids)
                    .map(|found| found.outcome())
                    .map_err(|error| error.to_string())
            }
            ComplianceTest::Test07 => {
                self.write_answers();
                let scored = evaluate(spec, self.dataset, &self.plan.log_dir, self.texts);
                scored.map_err(|error| error.to_string()).map(|(score, _)| {
                    let figures = score.figures();
                    let percent = figures.iter().find(|(name, _)| *name == "exact_match");
                    answers_are_right(percent.map(|(_, percent)| *percent), score.answers, &limits)
                })
            }
            ComplianceTest::Test09 => {
                answers_are_long_enough(&log, &limits).map_err(|error| error.to_string())
            }
        };
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                self.remarks.push(why);
                return RunOutcome::NotVerified(Some(test));
            }
        };
        self.remarks.push(found.sentence);
        let path = self.plan.log_dir.join(test.outcome_file());
        // A submission needs this file, and it is the only evidence on disk that the run counts.
        let written = files::write(&path, &found.text);
        if let Err(error) = &written {
            self.remarks
                .push(format!("{} could not be written: {error}", path.display()));
        } else {
            self.files.push((test.name(), path));
        }
        RunOutcome::Verified {
            test,
            passed: found.passed,
            written: written.is_ok(),
        }
    }

    /// Writes the texts of the answers, if any, next to LoadGen's logs.
    fn write_answers(&mut self) {
        if self.texts.is_empty() {
            return;
        }
        let path = self.plan.log_dir.join(ANSWERS);
        match write_texts(&path, self.texts) {
            Ok(()) => self.files.push(("answers", path)),
            Err(error) => self
                .remarks
                .push(format!("{} could not be written: {error}", path.display())),
        }
    }
}
