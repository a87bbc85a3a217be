//! The layout of the tree: which file goes where.

use std::fs;
use std::path::{Path, PathBuf};

use mlperf_rules::compliance::ComplianceTest;
use mlperf_rules::files::{ACCURACY_LOG, ACCURACY_TXT, DETAIL_LOG, SUMMARY_LOG, USER_CONF};
use mlperf_rules::{BenchmarkSpec, RuleScenario};
use serde_json::Value;

use super::facts::Facts;
use super::files::Files;
use super::marks::Mark;
use super::outcomes::outcome;
use super::readme;
use super::request::Request;
use super::runs::{Run, Runs, ScenarioRuns};
use crate::SubmissionError;

/// A submission that is ready to be written.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    /// `OUT/<division>/<submitter>`.
    root: PathBuf,
    /// The system's folder, with its marks.
    system: String,
    spec: &'a BenchmarkSpec,
    runs: &'a Runs,
    facts: &'a Facts,
    marks: &'a [Mark],
    calibration: String,
    source: &'a str,
}

impl<'a> Tree<'a> {
    /// Checks everything before the first file is written.
    pub(super) fn new(
        request: &'a Request,
        spec: &'a BenchmarkSpec,
        runs: &'a Runs,
        facts: &'a Facts,
        marks: &'a [Mark],
    ) -> Result<Self, SubmissionError> {
        let mut missing = Vec::new();
        if request.calibration.is_none() {
            missing.push(
                "--calibration FILE: how the weights were quantised and calibrated (or that they were not)",
            );
        }
        if request.source.is_none() {
            missing.push("--source TEXT: where the code of the submission is");
        }
        let (Some(calibration), Some(source)) = (&request.calibration, &request.source) else {
            return Err(SubmissionError::Flags { missing });
        };
        let text = fs::read_to_string(calibration).map_err(|error| SubmissionError::Input {
            what: format!("--calibration {}", calibration.display()),
            problem: error.to_string(),
        })?;
        let words = marks.iter().map(|mark| format!("-{}", mark.word));
        let tree = Self {
            root: request
                .out
                .join(request.division.as_str())
                .join(&request.submitter),
            system: request.system.clone() + &words.collect::<String>(),
            spec,
            runs,
            facts,
            marks,
            calibration: text,
            source,
        };
        let folder = tree.benchmark_folder();
        if folder.exists() {
            return Err(SubmissionError::Exists { folder });
        }
        Ok(tree)
    }

    /// The folder of this benchmark's results.
    pub(super) fn benchmark_folder(&self) -> PathBuf {
        let results = self.root.join("results");
        results.join(&self.system).join(&self.spec.submission_name)
    }

    /// All files, and the problems that prevent writing them. Writes nothing.
    pub(super) fn files(&self) -> Files {
        let mut out = Files::default();
        let system = self.root.join("systems").join(format!("{}.json", self.system));
        out.json(system, &self.facts.system);
        out.text(
            self.root.join("documentation/calibration.md"),
            self.marked(&self.calibration),
        );
        let source = self.root.join("src").join(&self.spec.submission_name);
        out.text(
            source.join("README.md"),
            readme::source(self.spec, self.source, self.marks),
        );
        for (scenario, runs) in &self.runs.scenarios {
            let folder = self.benchmark_folder().join(scenario.to_string());
            self.scenario(&mut out, &folder, *scenario, runs);
        }
        out
    }

    fn scenario(&self, out: &mut Files, folder: &Path, scenario: RuleScenario, runs: &ScenarioRuns) {
        let mut measurements = self.facts.measurements.clone();
        if !self.marks.is_empty() {
            let notes = measurements
                .get("notes")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let lines: Vec<String> = self.marks.iter().map(Mark::line).collect();
            let notes = format!("{} {notes}", lines.join(" ")).trim().to_owned();
            measurements.insert("notes".into(), notes.into());
        }
        out.json(folder.join("measurements.json"), &measurements);
        if let Some(conf) = out.read(&runs.performance.folder.join(USER_CONF)) {
            let heading: String = self
                .marks
                .iter()
                .map(|mark| format!("# {}\n", mark.line()))
                .collect();
            out.text(folder.join(USER_CONF), heading + &conf);
        }
        out.text(
            folder.join("README.md"),
            readme::scenario(self.spec, scenario, runs, self.marks),
        );
        self.logs(out, &runs.performance.folder, &folder.join("performance/run_1"));
        self.accuracy(out, &folder.join("accuracy"), &runs.accuracy);
        for (test, run) in &runs.compliance {
            self.compliance(out, &folder.join(test.name()), *test, run, scenario);
        }
    }

    fn accuracy(&self, out: &mut Files, folder: &Path, run: &Run) {
        self.logs(out, &run.folder, folder);
        let hash = out.shortened(run.folder.join(ACCURACY_LOG), folder.join(ACCURACY_LOG));
        // An unfit run may have no figures; the file is written anyway, with the hash.
        let path = run.folder.join(ACCURACY_TXT);
        let figures = if path.exists() {
            out.read(&path)
        } else {
            Some(String::new())
        };
        if let (Some(hash), Some(figures)) = (hash, figures) {
            let figures: Vec<&str> = figures
                .lines()
                .filter(|line| !line.starts_with("hash="))
                .collect();
            let text = format!("{}\n\nhash={hash}\n", figures.join("\n").trim_end());
            out.text(folder.join(ACCURACY_TXT), self.marked(&text));
        }
    }

    fn compliance(
        &self,
        out: &mut Files,
        folder: &Path,
        test: ComplianceTest,
        run: &Run,
        scenario: RuleScenario,
    ) {
        match outcome(run, test, self.spec, scenario) {
            Ok(found) => out.text(folder.join(test.outcome_file()), self.marked(&found.text)),
            Err(why) => out.problem(format!(
                "{scenario} {test}: {why}; leave the run {} out, or make it again",
                run.folder.display()
            )),
        }
        let log = run.folder.join(ACCURACY_LOG);
        let accuracy = folder.join("accuracy");
        if !test.is_whole_set() {
            return out.copy(log, accuracy.join(ACCURACY_LOG));
        }
        if let Some(hash) = out.shortened(log, accuracy.join(ACCURACY_LOG)) {
            let text = self.marked(&format!("hash={hash}\n"));
            out.text(accuracy.join(ACCURACY_TXT), text);
        }
        self.logs(out, &run.folder, &folder.join("performance/run_1"));
    }

    /// LoadGen's two logs of a run. The detail log is unchanged: it contains the server's version, which
    /// shows that the server was simulated. The summary may not, so marks are appended to it.
    fn logs(&self, out: &mut Files, from: &Path, to: &Path) {
        out.copy(from.join(DETAIL_LOG), to.join(DETAIL_LOG));
        if self.marks.is_empty() {
            return out.copy(from.join(SUMMARY_LOG), to.join(SUMMARY_LOG));
        }
        let lines: String = self
            .marks
            .iter()
            .map(|mark| format!("{}\n", mark.line()))
            .collect();
        if let Some(summary) = out.read(&from.join(SUMMARY_LOG)) {
            out.text(to.join(SUMMARY_LOG), summary + &lines);
        }
    }

    /// A text with its marks above it. No line that the checker looks for begins like a mark.
    fn marked(&self, text: &str) -> String {
        let lines: String = self
            .marks
            .iter()
            .map(|mark| format!("{}\n", mark.line()))
            .collect();
        lines + text
    }
}
