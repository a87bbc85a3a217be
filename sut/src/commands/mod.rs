//! One function per subcommand. A command checks its flags, calls the libraries, prints, and returns the exit
//! status.

mod address_space;
mod alerts;
mod collect;
mod compare;
mod completions;
mod convert;
mod doctor;
mod plot;
mod process;
mod report;
mod score;
mod sim;
mod submission;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{Cli, Command, LogLevel, RunArgs};
use crate::exit::{Exit, Fail};
use crate::plan::{Overrides, Task};
use crate::series::{both, overhead, peak, sweep};
use crate::shutdown::Shutdown;
use crate::{console, run as test_run};

/// Runs the command line.
///
/// # Errors
/// [`Fail`] with the exit status and the message for the user.
pub fn run(cli: Cli) -> Result<Exit, Fail> {
    match &cli.command {
        Some(Command::Completions(_)) => {}
        Some(Command::Collect(_)) => address_space::check(address_space::RECORDING_BYTES)?,
        None if !cli.run.dry_run => address_space::check(address_space::RECORDING_BYTES)?,
        _ => address_space::check(address_space::OTHER_BYTES)?,
    }
    let Some(command) = cli.command else {
        return test(cli.run);
    };
    console::install(LogLevel::Info);
    match command {
        Command::Sim(args) => sim::run(&args),
        Command::Collect(args) => collect::run(*args),
        Command::Report(args) => report::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Plot(args) => plot::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Process(args) => process::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Submission(args) => submission::run(args),
    }
}

/// Runs one or several tests.
fn test(args: RunArgs) -> Result<Exit, Fail> {
    let overrides = Overrides::from_environment()?;
    if args.overhead_check.is_some() && overrides.is_none() {
        console::install(args.log_level.unwrap_or(LogLevel::Info));
        return overhead::run(args);
    }
    let (task, level) = Task::resolve(args, overrides.as_ref())?;
    console::install(level);
    match task {
        Task::One(plan) => test_run::run(plan),
        Task::DryRun(plan) => test_run::dry_run(plan),
        Task::Both(plan) => both::run(&plan),
        Task::Peak(plan, peak) => peak::run(&plan, &peak),
        Task::Sweep(plan, rates) => sweep::run(&plan, &rates),
    }
}

/// The paths without derived files (`_processed`) whose raw file is also listed, so that a shell pattern names each
/// run once.
fn each_run_once(paths: &[PathBuf]) -> Vec<&Path> {
    let raw_is_listed = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let raw = name.map(|name| path.with_file_name(name.replacen("_processed.", ".", 1)));
        raw.is_some_and(|raw| raw != path && paths.contains(&raw))
    };
    let (derived, runs): (Vec<&Path>, Vec<&Path>) = paths
        .iter()
        .map(PathBuf::as_path)
        .partition(|path| raw_is_listed(path));
    for path in derived {
        tracing::info!("{} is left out: its raw file is listed too", path.display());
    }
    runs
}

/// How often the wall clock is compared with the monotonic one.
const CLOCK_EVERY: Duration = Duration::from_millis(500);

/// Blocks until a signal arrives or the time is over; `stepped` gets the seconds of each step of the wall clock.
fn wait_for_end(limit: Option<Duration>, stepped: impl Fn(f64)) -> Result<(), Fail> {
    let (runtime, shutdown) = Shutdown::watched()?;
    runtime.block_on(async {
        let steps = async {
            let mut clock = test_run::WallClock::start();
            loop {
                if let Some(step_ns) = clock.look() {
                    stepped(step_ns as f64 / 1e9);
                }
                tokio::time::sleep(CLOCK_EVERY).await;
            }
        };
        let end = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.stop.cancelled() => {}
            () = end => {}
            () = steps => {}
        }
    });
    runtime.shutdown_background();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_matches_raw_and_derived_files_names_each_run_once() {
        let paths: Vec<PathBuf> = [
            "r/m_1.parquet",
            "r/m_1_processed.parquet",
            "r/m_2_processed.parquet",
        ]
        .map(PathBuf::from)
        .into();
        let expected = [Path::new("r/m_1.parquet"), Path::new("r/m_2_processed.parquet")];
        assert_eq!(each_run_once(&paths), expected);
    }
}
