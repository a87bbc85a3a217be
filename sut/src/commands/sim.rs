//! `sut sim`: serves the built-in simulator.

use mlperf_dataset::{Columns, Dataset};
use vllm_sim::Simulator;

use super::wait_for_end;
use crate::cli::SimCommand;
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::plan::{refusal, words};
use crate::workload::prompts;

pub(super) fn run(args: &SimCommand) -> Result<Exit, Fail> {
    let mut wrong = Vec::new();
    let limit = words::duration("--duration", args.duration.as_ref(), &mut wrong);
    if !wrong.is_empty() {
        return Err(refusal("nothing was served", &wrong));
    }
    let mut config = args.server.resolve().map_err(Fail::usage)?;
    if let Some(path) = &args.references {
        let dataset = Dataset::load(path, &Columns::default()).map_err(Fail::usage)?;
        config.references = prompts::references(&dataset)?.into();
    }
    let simulator = Simulator::start(config).map_err(Fail::usage)?;
    print(&format!("SIMULATED vLLM at {}\n", simulator.url()));
    wait_for_end(limit, |_seconds| {})?;
    simulator.stop();
    Ok(Exit::Valid)
}
