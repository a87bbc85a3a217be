//! The runs that a submission is made of: found by their records, and put together by scenario.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::benchmark::RuleScenario;
use crate::compliance::ComplianceTest;
use crate::environment::{ENVIRONMENT, Environment};
use crate::exit::Fail;
use crate::record::{RUN_RECORD, RunKind, RunRecord};

/// Folders are looked for runs so far down: DIR/performance/run_1 is two, and one more for a folder of scenarios.
const DEPTH: usize = 4;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    /// Folder of its logs.
    pub(super) folder: PathBuf,
    /// What it was.
    pub(super) record: RunRecord,
    /// What it was made with; `None` when its record is not there.
    pub(super) environment: Option<Environment>,
}

/// The runs of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScenarioRuns {
    /// The timed run.
    pub(super) performance: Run,
    /// The run with every answer logged.
    pub(super) accuracy: Run,
    /// The runs under audit files, by test.
    pub(super) compliance: BTreeMap<ComplianceTest, Run>,
}

impl ScenarioRuns {
    /// All of them.
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

/// Finds all runs in and under the folders and sorts them.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] names every folder without runs, every run that is missing and every one too many.
pub(super) fn find(folders: &[PathBuf]) -> Result<(Vec<Run>, Runs), Fail> {
    let mut found: Vec<Run> = Vec::new();
    for folder in folders {
        let mut here = Vec::new();
        look(folder, DEPTH, &mut here)
            .map_err(|error| Fail::usage(anyhow!("--run {}: {error}", folder.display())))?;
        if here.is_empty() {
            return Err(Fail::usage(anyhow!(
                "--run {}: there is no {RUN_RECORD} in it or in the folders below, so no run of this program",
                folder.display()
            )));
        }
        for path in here {
            // The same folder may be named twice, by itself and by one above it.
            if !found.iter().any(|run| run.folder == path) {
                found.push(read(path)?);
            }
        }
    }
    let sorted = sort(&found).map_err(|problems| {
        Fail::usage(anyhow!(
            "the runs do not make a submission:\n  - {}",
            problems.join("\n  - ")
        ))
    })?;
    Ok((found, sorted))
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

fn read(folder: PathBuf) -> Result<Run, Fail> {
    let record = RunRecord::read(&folder).map_err(Fail::usage)?;
    let path = folder.join(ENVIRONMENT);
    let environment = match std::fs::read(&path) {
        Ok(text) => Some(
            serde_json::from_slice(&text)
                .map_err(|error| Fail::usage(anyhow!("{}: {error}", path.display())))?,
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Fail::usage(anyhow!("{}: {error}", path.display()))),
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
