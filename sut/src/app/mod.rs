//! One run from top to bottom: prepare, run, finish. Each stage owns what the next one needs.

mod after;
mod execute;
mod finish;
mod prepare;
mod record;
mod watch;

use anyhow::Context;

pub(crate) use self::watch::LoadGenResult;
use crate::ending::Ending;
use crate::exit::{Exit, Fail};
use crate::plan::Plan;
use crate::report;

/// Runs a test as planned and returns the program's exit status.
///
/// # Errors
/// [`Fail`] when no load was sent, or when the run's files could not be made.
pub fn run(plan: Plan) -> Result<Exit, Fail> {
    if let Err(error) = vllm_client::raise_open_files_limit() {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .thread_name("sut-worker")
        .enable_all()
        .build()
        .context("cannot start the worker threads")?;
    let ending = Ending::on_signals(&runtime)?;
    let prepared = prepare::prepare(plan, &runtime, &ending)?;
    if prepared.plan.dry_run {
        report::print(&report::plan_text(
            &prepared.plan,
            &prepared.load,
            &prepared.dataset,
            prepared.caching,
        ));
        if let Some(metrics) = &prepared.plan.metrics {
            for line in record::look(metrics, &prepared)? {
                let line = line.unwrap_or_else(|why| format!("NO METRICS: {why}"));
                report::print(&format!("metrics: {line}\n"));
            }
        }
        runtime.block_on(prepared.server.stop());
        return Ok(Exit::Valid);
    }
    let ran = execute::execute(prepared, &runtime, &ending)?;
    let given_up = ran.loadgen.is_none();
    let exit = finish::finish(ran, &runtime)?;
    // Nothing is left to wait for: what is still on the runtime belongs to a server that is gone.
    runtime.shutdown_background();
    if given_up {
        // Everything is written; LoadGen's threads still live, so nothing of theirs may be destroyed.
        mlperf_loadgen::end_process(exit as u8);
    }
    Ok(exit)
}
