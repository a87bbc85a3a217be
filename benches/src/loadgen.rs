//! What the LoadGen binding costs: a null SUT behind it, compared with the same null SUT in C++.
//!
//! LoadGen runs one test per process, so every round is a child process: either the C++ program made by the
//! build, or this program started again, which [`child`] turns into the Rust null SUT.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mlperf_loadgen::{
    IssuedSamples, LoadGenLog, LogSettings, Mode, QuerySampleLibrary, Scenario, SystemUnderTest,
    TestSettings, run_test,
};

use crate::figure::Figure;
use crate::timing::median;

/// Makes a child process the null SUT, and names its log folder.
const CHILD: &str = "BENCHES_LOADGEN_NULL_SUT_DIR";
/// About a quarter of a second of load.
const QUERIES: u64 = 100_000;
/// Rounds of each kind, run alternately.
const ROUNDS: usize = 31;

struct NullSut;

impl SystemUnderTest for NullSut {
    fn name(&self) -> String {
        "null SUT".to_owned()
    }

    fn issue_query(&self, samples: IssuedSamples<'_>) {
        for sample in samples {
            let answer = (sample.index() as u64).to_ne_bytes();
            // `issue_query` cannot report an error; the log would show it.
            let _ = sample.complete(&answer, 0);
        }
    }
}

struct NullQsl;

impl QuerySampleLibrary for NullQsl {
    fn name(&self) -> String {
        "null QSL".to_owned()
    }

    fn total_sample_count(&self) -> usize {
        1024
    }
}

/// Which program answers LoadGen in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Plain C++.
    Cpp,
    /// Rust through the binding.
    Rust,
}

/// Must be called first in the `main` of a program that calls [`queries_per_second`]. Returns true in a child
/// process, which has then done its work and must exit.
///
/// # Errors
/// If the test could not run.
pub fn child() -> Result<bool> {
    let Some(dir) = std::env::var_os(CHILD) else {
        return Ok(false);
    };
    let mut settings = TestSettings::new(Scenario::SingleStream, Mode::Performance);
    settings.min_duration = Duration::ZERO;
    settings.min_query_count = QUERIES;
    let report = run_test(
        &NullSut,
        &NullQsl,
        &settings,
        &LogSettings::new(PathBuf::from(dir)),
    )?;
    ensure!(report.incidents.is_empty(), "{:?}", report.incidents);
    Ok(true)
}

/// Runs one round and returns LoadGen's own figure of queries per second, including its overhead.
///
/// # Errors
/// If the child failed, or LoadGen logged an error.
pub fn queries_per_second(side: Side) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let mut command = match side {
        Side::Cpp => {
            let mut command = Command::new(env!("NULL_SUT"));
            command.arg(dir.path()).arg(QUERIES.to_string());
            command
        }
        Side::Rust => {
            let mut command = Command::new(std::env::current_exe()?);
            command.env(CHILD, dir.path());
            command
        }
    };
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    read(dir.path()).with_context(|| format!("{command:?}"))
}

fn read(dir: &Path) -> Result<f64> {
    let result = LoadGenLog::read(dir)?.result;
    ensure!(
        result.error_count() == 0 && result.query_count == Some(QUERIES),
        "{:?}",
        result.errors
    );
    result.qps_with_loadgen_overhead.context("the log has no rate")
}

/// `loadgen_binding_qps_ratio`: medians of alternating rounds.
pub fn figures() -> Vec<Figure> {
    let (value, context) = match rounds() {
        Ok((cpp, rust)) => {
            let (cpp, rust) = (median(cpp), median(rust));
            let context = format!(
                "SingleStream null SUT: {rust:.0} queries/s through the binding, {cpp:.0} in C++ from the same \
                 objects; medians of {ROUNDS} rounds of {QUERIES} queries each, in turns"
            );
            (Some(rust / cpp), context)
        }
        Err(error) => (None, format!("{error:#}")),
    };
    vec![Figure {
        name: "loadgen_binding_qps_ratio",
        value,
        unit: "ratio",
        context,
    }]
}

fn rounds() -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut cpp, mut rust) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Each side goes first in every other round.
        let mut sides = [Side::Cpp, Side::Rust];
        sides.rotate_left(round % 2);
        for side in sides {
            let rate = queries_per_second(side)?;
            match side {
                Side::Cpp => cpp.push(rate),
                Side::Rust => rust.push(rate),
            }
        }
    }
    Ok((cpp, rust))
}
