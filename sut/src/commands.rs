//! What the program does for each subcommand.

use std::time::Duration;

use anyhow::{Context, anyhow};
use vllm_metrics::store::read_run;
use vllm_report::RenderOptions;
use vllm_sim::Simulator;

use crate::cli::{Cli, Command, ConvertArgs, LogLevel, ModeArg, ReportArgs, SimCommand};
use crate::ending::{Ending, watch_signals};
use crate::exit::{Exit, Fail};
use crate::plan::Plan;
use crate::{app, collect, in_turn, overhead, peak, prompts, report, scoring, submission, telemetry};
use mlperf_dataset::{Columns, Dataset};

/// Runs what the command line says.
///
/// # Errors
/// [`Fail`] with the exit status and what to tell the user.
pub fn run(cli: Cli) -> Result<Exit, Fail> {
    match cli.command {
        None if cli.run.overhead_check.is_some() => {
            telemetry::install(cli.run.log_level.unwrap_or(LogLevel::Info));
            overhead::run(cli.run)
        }
        None => {
            let args = Plan::merged(cli.run)?;
            let plan = Plan::resolve(args.clone())?;
            telemetry::install(plan.log_level);
            match &plan.peak {
                _ if plan.dry_run => app::run(plan),
                Some(peak) => peak::run(&plan, peak, &args),
                None if plan.mode == ModeArg::Both => in_turn::run(&plan),
                None => app::run(plan),
            }
        }
        Some(command) => {
            telemetry::install(LogLevel::Info);
            match command {
                Command::Sim(args) => sim(&args),
                Command::Collect(args) => collect::run(*args),
                Command::Report(args) => draw(&args),
                Command::Convert(args) => convert(&args),
                Command::Score(args) => scoring::run(&args),
                Command::Submission(args) => submission::run(args),
            }
        }
    }
}

fn sim(args: &SimCommand) -> Result<Exit, Fail> {
    let limit = match args.for_secs.map(Duration::try_from_secs_f64).transpose() {
        Ok(limit) => limit,
        Err(error) => return Err(Fail::usage(anyhow!("--for-secs: {error}"))),
    };
    let mut config = args.server.resolve().map_err(Fail::usage)?;
    if let Some(path) = &args.references {
        let dataset = Dataset::load(path, &Columns::default()).map_err(Fail::usage)?;
        config.references = prompts::references(&dataset)?.into();
    }
    let simulator = Simulator::start(config).map_err(Fail::usage)?;
    report::print(&format!("SIMULATED vLLM at {}\n", simulator.url()));
    wait_for_end(limit)?;
    simulator.stop();
    Ok(Exit::Valid)
}

fn draw(args: &ReportArgs) -> Result<Exit, Fail> {
    let run = read_run(&args.run).map_err(Fail::usage)?;
    for note in &run.notes {
        tracing::warn!("{note}");
    }
    let folder = args.output_dir.clone().unwrap_or_else(|| {
        let beside = if args.run.is_dir() {
            Some(args.run.as_path())
        } else {
            args.run.parent()
        };
        beside.unwrap_or_else(|| std::path::Path::new(".")).to_owned()
    });
    let rendered = vllm_report::render(&run, &folder, &RenderOptions::default()).context("cannot draw")?;
    for path in [
        rendered.gpu,
        rendered.requests,
        rendered.overview,
        rendered.summary,
    ] {
        report::print(&format!("{}\n", path.display()));
    }
    Ok(Exit::Valid)
}

fn convert(args: &ConvertArgs) -> Result<Exit, Fail> {
    std::fs::create_dir_all(&args.output_dir).map_err(|error| {
        Fail::usage(anyhow!(
            "--output-dir {}: cannot make the folder: {error}",
            args.output_dir.display()
        ))
    })?;
    let (written, notes) =
        vllm_metrics::store::convert(&args.run, report::store_format(args.to), &args.output_dir)
            .map_err(Fail::usage)?;
    for note in notes {
        tracing::warn!("{note}");
    }
    for path in written.all {
        report::print(&format!("{}\n", path.display()));
    }
    Ok(Exit::Valid)
}

/// Blocks until SIGINT or SIGTERM, or until the time is over.
pub(crate) fn wait_for_end(limit: Option<Duration>) -> Result<(), Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    let ending = Ending::default();
    runtime.block_on(async {
        let signals = watch_signals(ending.clone()).context("cannot watch for signals")?;
        let end = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signals => {}
            () = ending.stop.cancelled() => {}
            () = end => {}
        }
        Ok(())
    })
}
