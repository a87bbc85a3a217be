//! One run in three stages: prepare, execute, finish. Each stage owns what the next one needs.

mod answers;
mod clean;
mod counting;
mod dashboard;
mod dry_run;
mod environment;
mod execute;
mod finish;
mod judge;
mod no_summary;
mod outcome;
mod outlook;
mod prepare;
mod printouts;
mod progress;
mod result;
mod screen;
mod table;
mod time_left;
mod user_conf;
mod wall_clock;
mod warm_up;
mod watch;

pub(crate) use wall_clock::WallClock;

use anyhow::anyhow;
use tokio::runtime::{Builder, Runtime};

use crate::exit::{Exit, Fail};
use crate::plan::Plan;
use crate::shutdown::Shutdown;

/// Runs a test as planned and returns the exit status.
///
/// # Errors
/// [`Fail`] when no load was sent, or when the run's files could not be written.
pub(crate) fn run(plan: Plan) -> Result<Exit, Fail> {
    if let Err(error) = vllm_client::raise_open_files_limit() {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    let (runtime, shutdown) = start()?;
    let prepared = prepare::prepare(plan, false, &runtime, &shutdown)?;
    let outlook = outlook::Outlook::of(&prepared);
    for line in outlook.load {
        tracing::info!("load: {line}");
    }
    for obstacle in outlook.obstacles {
        tracing::warn!("{obstacle}");
    }
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => Err(Fail::partial(anyhow!("interrupted before the test"))),
            warm = warm_up::warm_up(&prepared.plan, &prepared.target.server) => warm,
        }
    })?;
    let executed = execute::execute(prepared, &runtime, &shutdown)?;
    let given_up = executed.loadgen.is_none();
    let exit = finish::finish(executed, &runtime)?;
    // Do not wait: any tasks left on the runtime belong to a server that is gone.
    runtime.shutdown_background();
    if given_up {
        // Everything is written. LoadGen's threads are still alive, so none of their objects may be
        // destroyed.
        mlperf_loadgen::end_process(exit as u8);
    }
    Ok(exit)
}

/// Performs every check, shows the plan and sends nothing.
///
/// # Errors
/// As [`run`] before load is sent.
pub(crate) fn dry_run(plan: Plan) -> Result<Exit, Fail> {
    let (runtime, shutdown) = start()?;
    let prepared = prepare::prepare(plan, true, &runtime, &shutdown)?;
    dry_run::show(&prepared)?;
    runtime.block_on(prepared.target.server.stop());
    Ok(Exit::Valid)
}

fn start() -> anyhow::Result<(Runtime, Shutdown)> {
    Shutdown::with_runtime(
        Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, |count| count.get().min(4)))
            .thread_name("sut-worker"),
    )
}
