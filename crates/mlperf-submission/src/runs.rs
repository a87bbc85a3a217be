//! The runs of a submission: found by their records and grouped by scenario.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlperf_rules::compliance::ComplianceTest;
use mlperf_rules::{ENVIRONMENT, Environment, RUN_RECORD, RuleScenario, RunKind, RunRecord};

use crate::SubmissionError;

/// Depth of the search for runs: DIR/performance/run_1 is two levels, plus one for a folder of scenarios.
const DEPTH: usize = 4;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    /// Folder of the run's logs.
    pub(super) folder: PathBuf,
    /// The run's record.
    pub(super) record: RunRecord,
    /// The machine and software of the run; `None` when this record is missing.
    pub(super) environment: Option<Environment>,
}

/// The runs of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScenarioRuns {
    /// The timed run.
    pub(super) performance: Run,
    /// The run with all answers logged.
    pub(super) accuracy: Run,
    /// The runs under audit files, by test.
    pub(super) compliance: BTreeMap<ComplianceTest, Run>,
}

impl ScenarioRuns {
    /// All runs of the scenario.
    pub(super) fn all(&self) -> impl Iterator<Item = &Run> {
        [&self.performance, &self.accuracy]
            .into_iter()
            .chain(self.compliance.values())
    }
}

/// All runs of one benchmark, by scenario.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Runs {
    /// LoadGen's name of the benchmark.
    pub(super) benchmark: String,
    /// In the order of the rules.
    pub(super) scenarios: BTreeMap<RuleScenario, ScenarioRuns>,
}

/// Finds all runs in the folders and below, and groups them.
///
/// # Errors
/// [`SubmissionError`] names every folder without runs, every missing run and every surplus run.
pub(super) fn find(folders: &[PathBuf]) -> Result<(Vec<Run>, Runs), SubmissionError> {
    let mut found: Vec<Run> = Vec::new();
    for folder in folders {
        let mut here = Vec::new();
        look(folder, DEPTH, &mut here).map_err(|error| unusable(folder, error.to_string()))?;
        if here.is_empty() {
            return Err(unusable(
                folder,
                format!("there is no {RUN_RECORD} in it or in the folders below, so no run of this program"),
            ));
        }
        for path in here {
            // A folder may be found twice: by its own name and through a parent folder.
            if !found.iter().any(|run| run.folder == path) {
                found.push(read(path)?);
            }
        }
    }
    let sorted = sort(&found).map_err(|problems| SubmissionError::Runs { problems })?;
    Ok((found, sorted))
}

fn unusable(folder: &Path, what: String) -> SubmissionError {
    SubmissionError::Folder {
        folder: folder.to_owned(),
        what,
    }
}

fn look(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    if folder.join(RUN_RECORD).is_file() {
        found.push(folder.canonicalize()?);
    }
    for entry in entries {
        if depth > 0 && entry.is_dir() {
            look(&entry, depth - 1, found)?;
        }
    }
    Ok(())
}

fn read(folder: PathBuf) -> Result<Run, SubmissionError> {
    let record = RunRecord::read(&folder)?;
    let path = folder.join(ENVIRONMENT);
    let wrong = |problem: String| SubmissionError::Input {
        what: path.display().to_string(),
        problem,
    };
    let environment = match std::fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(wrong(error.to_string())),
    };
    Ok(Run {
        folder,
        record,
        environment,
    })
}

fn sort(found: &[Run]) -> Result<Runs, Vec<String>> {
    let mut problems = Vec::new();
    let mut places: BTreeMap<(RuleScenario, RunKind, Option<ComplianceTest>), &Run> = BTreeMap::new();
    let benchmark = found
        .first()
        .map(|run| run.record.benchmark.clone())
        .unwrap_or_default();
    for run in found {
        let RunRecord {
            benchmark: this,
            scenario,
            kind,
            ..
        } = &run.record;
        if *this != benchmark {
            problems.push(format!(
                "{} is a run of {this}, and others are of {benchmark}: lay out one benchmark at a time",
                run.folder.display()
            ));
            continue;
        }
        let test = run.record.test();
        if *kind == RunKind::Compliance && test.is_none() {
            problems.push(format!(
                "{} was run under an audit file that is of no test of its benchmark: run it with --compliance, or leave it \
                 out",
                run.folder.display()
            ));
        } else if let Some(other) = places.insert((*scenario, *kind, test), run) {
            problems.push(format!(
                "{} and {} are both {} runs of {scenario}: give one",
                other.folder.display(),
                run.folder.display(),
                test.map_or(kind.as_str(), ComplianceTest::name)
            ));
        }
    }
    let mut scenarios = BTreeMap::new();
    let names: std::collections::BTreeSet<RuleScenario> =
        places.keys().map(|(scenario, ..)| *scenario).collect();
    for scenario in names {
        let mut of_kind = |kind: RunKind| {
            let run = places.get(&(scenario, kind, None)).map(|run| (*run).clone());
            if run.is_none() {
                problems.push(format!("{scenario} has no {} run", kind.as_str()));
            }
            run
        };
        let kinds = (of_kind(RunKind::Performance), of_kind(RunKind::Accuracy));
        let compliance = places
            .iter()
            .filter(|((of, ..), _)| *of == scenario)
            .filter_map(|((.., test), run)| Some(((*test)?, (*run).clone())));
        if let (Some(performance), Some(accuracy)) = kinds {
            scenarios.insert(
                scenario,
                ScenarioRuns {
                    performance,
                    accuracy,
                    compliance: compliance.collect(),
                },
            );
        }
    }
    if problems.is_empty() {
        Ok(Runs { benchmark, scenarios })
    } else {
        Err(problems)
    }
}
