//! `--sweep`: one run at each of several rates, each in its own process and folder. A server that must be
//! started is started once.

use std::fmt::Write as _;

use mlperf_rules::RunRecord;

use super::child::Program;
use super::trial::{self, HEADINGS, Outcome};
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::plan::{InheritedServer, Overrides, Plan, Record, ServerPlan};
use crate::server::{self, Server};
use crate::shutdown::Shutdown;

/// Runs all rates in the given order and prints a table. The exit status is that of the first run that does
/// not count.
///
/// # Errors
/// [`Fail`] when the server cannot be started, or when a run shows nothing about its rate; the table of the
/// runs before it is printed first.
pub(crate) fn run(plan: &Plan, rates: &[f64]) -> Result<Exit, Fail> {
    let (runtime, shutdown) = Shutdown::watched()?;
    let server = match plan.server {
        ServerPlan::Start(_) => Some(runtime.block_on(server::start(plan, Vec::new(), &shutdown))?),
        _ => None,
    };
    let inherited = server.as_ref().map(Server::to_hand_on);
    let mut done = Vec::new();
    let ended = run_all(plan, rates, inherited.as_ref(), &shutdown, &mut done);
    if let Some(server) = server {
        runtime.block_on(server.stop());
    }
    runtime.shutdown_background();
    if !done.is_empty() {
        print(&table(plan, &done));
    }
    ended?;
    Ok(Exit::counting(done.iter().all(|outcome| outcome.valid)))
}

fn run_all(
    plan: &Plan,
    rates: &[f64],
    inherited: Option<&InheritedServer>,
    shutdown: &Shutdown,
    done: &mut Vec<Outcome>,
) -> Result<(), Fail> {
    let program = Program::current()?;
    for (at, rate) in rates.iter().copied().enumerate() {
        let folder = plan
            .log_dir
            .join("sweep")
            .join(format!("{:02}_{rate}qps", at + 1));
        let overrides = Overrides {
            log_dir: folder.clone(),
            server: inherited.cloned(),
            target_qps: Some(rate),
            record: Some(Record::Into(folder.join("metrics_output"))),
            ..Overrides::default()
        };
        tracing::info!("run {} of {}: {rate} queries/s", at + 1, rates.len());
        let outcome = trial::run(&program, &overrides, rate, shutdown)?;
        tracing::info!(
            "run {} of {}: {} after {:.0} s",
            at + 1,
            rates.len(),
            outcome.word,
            outcome.took.as_secs_f64()
        );
        done.push(outcome);
    }
    Ok(())
}

fn table(plan: &Plan, done: &[Outcome]) -> String {
    let simulated = |outcome: &Outcome| RunRecord::read(&outcome.folder).is_ok_and(|run| run.simulated);
    let mark = if done.iter().any(simulated) {
        "   [SIMULATED]"
    } else {
        ""
    };
    let mut out = format!(
        "sweep{mark}   {}, one run per rate\n  {HEADINGS}\n",
        plan.scenario
    );
    for outcome in done {
        // Writing to a `String` cannot fail.
        let _infallible = writeln!(out, "  {}", outcome.cells());
    }
    out
}
