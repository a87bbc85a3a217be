//! The tree itself: which file goes where.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Map, Value};

use super::args::SubmissionArgs;
use super::facts::Facts;
use super::logs::copy_truncated;
use super::marks::Mark;
use super::outcomes::outcome;
use super::readme;
use super::runs::{Run, Runs, ScenarioRuns};
use crate::benchmark::{BenchmarkSpec, RuleScenario};
use crate::compliance::ComplianceTest;
use crate::exit::Fail;
use crate::scoring::{ACCURACY_LOG, ACCURACY_TXT};
use crate::user_conf::USER_CONF;

/// LoadGen's log that is read by people.
const SUMMARY: &str = "mlperf_log_summary.txt";
/// LoadGen's log that is read by the submission checker.
const DETAIL: &str = "mlperf_log_detail.txt";

/// A submission that is about to be written; everything that it needs is there.
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
    /// Looks at everything before the first file is written.
    pub(super) fn new(
        args: &'a SubmissionArgs,
        spec: &'a BenchmarkSpec,
        runs: &'a Runs,
        facts: &'a Facts,
        marks: &'a [Mark],
    ) -> Result<Self, Fail> {
        let mut missing = Vec::new();
        if args.calibration.is_none() {
            missing.push(
                "--calibration FILE: how the weights were quantised and calibrated (or that they were not)",
            );
        }
        if args.source.is_none() {
            missing.push("--source TEXT: where the code of the submission is");
        }
        let (Some(calibration), Some(source)) = (&args.calibration, &args.source) else {
            return Err(Fail::usage(anyhow!(
                "a submission needs what only a person can tell:\n  - {}",
                missing.join("\n  - ")
            )));
        };
        let text = fs::read_to_string(calibration)
            .map_err(|error| Fail::usage(anyhow!("--calibration {}: {error}", calibration.display())))?;
        let words = marks.iter().map(|mark| format!("-{}", mark.word));
        let tree = Self {
            root: args.out.join(args.division.as_str()).join(&args.submitter),
            system: args.system.clone() + &words.collect::<String>(),
            spec,
            runs,
            facts,
            marks,
            calibration: text,
            source,
        };
        let folder = tree.benchmark_folder();
        if folder.exists() {
            return Err(Fail::usage(anyhow!(
                "{} is there already: remove it, or lay out somewhere else",
                folder.display()
            )));
        }
        for of_scenario in runs.scenarios.values() {
            let conf = of_scenario.performance.folder.join(USER_CONF);
            if !conf.is_file() {
                return Err(Fail::usage(anyhow!("the run's {} is not there", conf.display())));
            }
        }
        Ok(tree)
    }

    /// Where this benchmark's results go.
    pub(super) fn benchmark_folder(&self) -> PathBuf {
        let results = self.root.join("results");
        results.join(&self.system).join(&self.spec.submission_name)
    }

    /// Writes all files and returns how many.
    pub(super) fn write(&self) -> Result<usize, Fail> {
        let mut out = Writer::default();
        self.write_all(&mut out).map_err(|error| {
            Fail::usage(anyhow!(
                "the submission is not whole: {}: {error}",
                out.at.display()
            ))
        })?;
        Ok(out.files)
    }

    fn write_all(&self, out: &mut Writer) -> io::Result<()> {
        let system = self.root.join("systems").join(format!("{}.json", self.system));
        out.json(&system, &self.facts.system)?;
        out.text(
            &self.root.join("documentation/calibration.md"),
            &self.marked(&self.calibration),
        )?;
        let source = self
            .root
            .join("src")
            .join(&self.spec.submission_name)
            .join("README.md");
        out.text(&source, &readme::source(self.spec, self.source, self.marks))?;
        for (scenario, runs) in &self.runs.scenarios {
            let folder = self.benchmark_folder().join(scenario.to_string());
            self.scenario(out, &folder, *scenario, runs)?;
        }
        Ok(())
    }

    fn scenario(
        &self,
        out: &mut Writer,
        folder: &Path,
        scenario: RuleScenario,
        runs: &ScenarioRuns,
    ) -> io::Result<()> {
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
        out.json(&folder.join("measurements.json"), &measurements)?;
        let conf = fs::read_to_string(runs.performance.folder.join(USER_CONF))?;
        let heading: String = self
            .marks
            .iter()
            .map(|mark| format!("# {}\n", mark.line()))
            .collect();
        out.text(&folder.join(USER_CONF), &(heading + &conf))?;
        out.text(
            &folder.join("README.md"),
            &readme::scenario(self.spec, scenario, runs, self.marks),
        )?;

        let performance = folder.join("performance/run_1");
        self.logs(out, &runs.performance.folder, &performance)?;
        let accuracy = folder.join("accuracy");
        self.logs(out, &runs.accuracy.folder, &accuracy)?;
        let log = accuracy.join(ACCURACY_LOG);
        out.begin(&log)?;
        let hash = copy_truncated(&runs.accuracy.folder.join(ACCURACY_LOG), &log)?;
        // Laid out unfit, a run may have no figures; the file is there all the same, with the hash.
        let figures = match fs::read_to_string(runs.accuracy.folder.join(ACCURACY_TXT)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let figures: Vec<&str> = figures
            .lines()
            .filter(|line| !line.starts_with("hash="))
            .collect();
        let text = self.marked(&format!("{}\n\nhash={hash}\n", figures.join("\n").trim_end()));
        out.text(&accuracy.join(ACCURACY_TXT), &text)?;

        for (test, run) in &runs.compliance {
            self.compliance(out, &folder.join(test.name()), *test, run, scenario)?;
        }
        Ok(())
    }

    fn compliance(
        &self,
        out: &mut Writer,
        folder: &Path,
        test: ComplianceTest,
        run: &Run,
        scenario: RuleScenario,
    ) -> io::Result<()> {
        let found = outcome(run, test, self.spec, scenario).map_err(io::Error::other)?;
        out.text(&folder.join(test.outcome_file()), &self.marked(&found.text))?;
        let log = run.folder.join(ACCURACY_LOG);
        let accuracy = folder.join("accuracy");
        if !test.is_whole_set() {
            return out.copy(&log, &accuracy.join(ACCURACY_LOG));
        }
        let short = accuracy.join(ACCURACY_LOG);
        out.begin(&short)?;
        let hash = copy_truncated(&log, &short)?;
        out.text(
            &accuracy.join(ACCURACY_TXT),
            &self.marked(&format!("hash={hash}\n")),
        )?;
        self.logs(out, &run.folder, &folder.join("performance/run_1"))
    }

    /// LoadGen's two logs of a run. The detail log is left as it is: it tells the server's version, and with it that
    /// the server was simulated. The summary does not always, so marks go behind it.
    fn logs(&self, out: &mut Writer, from: &Path, to: &Path) -> io::Result<()> {
        out.copy(&from.join(DETAIL), &to.join(DETAIL))?;
        if self.marks.is_empty() {
            return out.copy(&from.join(SUMMARY), &to.join(SUMMARY));
        }
        let lines: String = self
            .marks
            .iter()
            .map(|mark| format!("{}\n", mark.line()))
            .collect();
        let summary = fs::read_to_string(from.join(SUMMARY))?;
        out.text(&to.join(SUMMARY), &(summary + &lines))
    }

    /// A text with its marks above it. No line of the checker's begins like a mark.
    fn marked(&self, text: &str) -> String {
        let lines: String = self
            .marks
            .iter()
            .map(|mark| format!("{}\n", mark.line()))
            .collect();
        lines + text
    }
}

/// Makes folders as they are needed, counts files, and knows which one it is at.
#[derive(Debug, Default)]
struct Writer {
    at: PathBuf,
    files: usize,
}

impl Writer {
    fn begin(&mut self, path: &Path) -> io::Result<()> {
        path.clone_into(&mut self.at);
        self.files += 1;
        path.parent().map_or(Ok(()), fs::create_dir_all)
    }

    fn text(&mut self, path: &Path, text: &str) -> io::Result<()> {
        self.begin(path)?;
        fs::write(path, text)
    }

    fn json(&mut self, path: &Path, value: &Map<String, Value>) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.text(path, &(text + "\n"))
    }

    fn copy(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(to)?;
        fs::copy(from, to)
            .map(drop)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", from.display())))
    }
}
