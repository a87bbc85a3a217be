//! What is made of a run's answers: its score, its compliance; and what is left beside LoadGen's logs so that a
//! submission can be made of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlperf_loadgen::TestSettings;

use crate::cli::ModeArg;
use crate::exit::Exit;
use crate::load::Generation;
use crate::plan::Plan;
use crate::report::Judged;
use crate::server::Server;
use crate::user_conf;
use mlperf_accuracy::{ANSWERS, Beside, evaluate, score_folder, write_texts};
use mlperf_dataset::Dataset;
use mlperf_rules::compliance::{ComplianceTest, answers_are_long_enough, answers_are_right, verify};
use mlperf_rules::files::ACCURACY_LOG;
use mlperf_rules::{BenchmarkSpec, RuleScenario};
use mlperf_rules::{RunKind, RunRecord, findings};

/// A run that was judged, and where the words about it go.
pub(super) struct After<'a> {
    pub(super) plan: &'a Plan,
    /// The compliance test whose audit file was in effect.
    pub(super) test: Option<ComplianceTest>,
    pub(super) judged: &'a mut Judged,
    pub(super) remarks: &'a mut Vec<String>,
    pub(super) files: &'a mut Vec<(&'static str, PathBuf)>,
}

impl After<'_> {
    /// Scores an accuracy run, verifies a compliance run. A run that was cut or had errors is neither.
    pub(super) fn look_into_answers(&mut self, dataset: &Dataset, texts: &BTreeMap<usize, String>) {
        if self.judged.exit != Exit::Valid {
            return;
        }
        if self.plan.mode == ModeArg::Accuracy {
            self.score(dataset, texts);
        } else if self.plan.is_compliance() {
            self.verify(dataset, texts);
        }
    }

    fn spec(&mut self) -> Option<BenchmarkSpec> {
        match BenchmarkSpec::named(&self.plan.benchmark) {
            Ok(spec) => Some(spec),
            Err(error) => {
                self.judged.exit = Exit::NotValid;
                self.remarks.push(error.to_string());
                None
            }
        }
    }

    fn score(&mut self, dataset: &Dataset, texts: &BTreeMap<usize, String>) {
        let Some(spec) = self.spec() else { return };
        self.write_answers(texts);
        let scored = score_folder(&spec, dataset, &self.plan.log_dir, texts);
        self.judged.result = scored.word().into();
        self.judged.exit = Exit::counting(scored.counts());
        self.remarks.extend(scored.figures.iter().map(Beside::words));
        self.files.extend(scored.file.map(|path| ("accuracy", path)));
        self.remarks.extend(scored.remarks);
    }

    fn verify(&mut self, dataset: &Dataset, texts: &BTreeMap<usize, String>) {
        let Some(spec) = self.spec() else { return };
        let Some(test) = self.test else {
            self.judged.result = "ENDED, NOT VERIFIED: judge the logs with the test's own script".into();
            self.judged.exit = Exit::NotValid;
            self.remarks.push(
                "the audit file is not that of a test that is verified here and asked of the benchmark"
                    .into(),
            );
            return;
        };
        let folder = &self.plan.log_dir;
        let log = folder.join(ACCURACY_LOG);
        let limits = spec.compliance_limits(test.name());
        let found = match test {
            ComplianceTest::Test06 => {
                let offline = self.plan.rule_scenario() == RuleScenario::Offline;
                verify(&log, offline, &spec.sampling.end_ids)
                    .map(|found| found.outcome())
                    .map_err(|error| error.to_string())
            }
            ComplianceTest::Test07 => {
                self.write_answers(texts);
                let scored = evaluate(&spec, dataset, &self.plan.log_dir, texts);
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
                self.judged.result = format!("{test} ENDED, NOT VERIFIED");
                self.judged.exit = Exit::NotValid;
                return self.remarks.push(why);
            }
        };
        self.judged.result = if found.passed {
            format!("{test} PASSED")
        } else {
            self.judged.exit = Exit::NotValid;
            format!("{test} FAILED")
        };
        self.remarks.push(found.sentence);
        let path = self.plan.log_dir.join(test.outcome_file());
        match std::fs::write(&path, found.text) {
            Ok(()) => self.files.push((test.name(), path)),
            Err(error) => {
                // A submission is made of that file, and nothing else on disk tells that the run counts.
                self.judged.exit = Exit::NotValid;
                self.remarks
                    .push(format!("{} could not be written: {error}", path.display()));
            }
        }
    }

    /// Leaves the answers' texts beside LoadGen's logs, where there are any.
    fn write_answers(&mut self, texts: &BTreeMap<usize, String>) {
        if texts.is_empty() {
            return;
        }
        let path = self.plan.log_dir.join(ANSWERS);
        match write_texts(&path, texts) {
            Ok(()) => self.files.push(("answers", path)),
            Err(error) => self
                .remarks
                .push(format!("{} could not be written: {error}", path.display())),
        }
    }

    /// Writes the run's record and the user.conf that repeats it.
    pub(super) fn leave_record(
        &mut self,
        server: &Server,
        dataset: &Dataset,
        settings: &TestSettings,
        from_files: &TestSettings,
    ) {
        let plan = self.plan;
        let conf = user_conf::write(plan, settings, from_files, server.simulated());
        if let Err(error) = conf {
            self.remarks
                .push(format!("user.conf of the run could not be written: {error}"));
        }
        let max_tokens = match Generation::of(plan) {
            Ok(generation) => generation.max_tokens,
            // Refused before the run: there is a benchmark's file.
            Err(fail) => return self.remarks.push(format!("{:#}", fail.error)),
        };
        let record = RunRecord {
            program: format!("sut {}", env!("CARGO_PKG_VERSION")),
            benchmark: plan.benchmark.clone(),
            scenario: plan.rule_scenario(),
            kind: match (plan.mode, plan.is_compliance()) {
                (ModeArg::Accuracy, _) => RunKind::Accuracy,
                (_, true) => RunKind::Compliance,
                (_, false) => RunKind::Performance,
            },
            compliance: self.test,
            simulated: server.simulated(),
            result: self.judged.result.clone(),
            counts: self.judged.exit == Exit::Valid,
            findings: self.judged.verdict.as_ref().map(findings).unwrap_or_default(),
            model: server.model.clone(),
            server_version: server.version.clone(),
            server_on_this_host: server.is_on_this_host(),
            dataset: dataset.origin.clone(),
            samples: dataset.prompts.len(),
            max_tokens,
            batch_size: plan.batch_size,
            concurrency: plan.concurrency,
            target_qps: settings.target_qps(),
        };
        match record.write(&plan.log_dir) {
            Ok(path) => self.files.push(("run", path)),
            Err(error) => self
                .remarks
                .push(format!("the run's record could not be written: {error}")),
        }
    }
}
