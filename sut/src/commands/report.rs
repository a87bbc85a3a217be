//! `sut report`: draws the pictures and the summary of a stored run.

use std::path::Path;

use anyhow::{Context, anyhow};
use vllm_metrics::store::read_run;
use vllm_report::RenderOptions;

use crate::cli::ReportArgs;
use crate::console::print;
use crate::exit::{Exit, Fail};

pub(super) fn run(args: &ReportArgs) -> Result<Exit, Fail> {
    must_exist(&args.run)?;
    let run = read_run(&args.run).map_err(Fail::usage)?;
    for note in &run.notes {
        tracing::warn!("{note}");
    }
    let folder = args.output_dir.clone().unwrap_or_else(|| {
        let of_run = if args.run.is_dir() {
            Some(args.run.as_path())
        } else {
            args.run.parent()
        };
        of_run.unwrap_or_else(|| Path::new(".")).to_owned()
    });
    let rendered = vllm_report::render(&run, &folder, &RenderOptions::default()).context("cannot draw")?;
    for path in [
        rendered.gpu,
        rendered.requests,
        rendered.overview,
        rendered.summary,
    ] {
        print(&format!("{}\n", path.display()));
    }
    Ok(Exit::Valid)
}

/// Refuses a stored run that is not there, before anything is made of its name.
pub(super) fn must_exist(run: &Path) -> Result<(), Fail> {
    if run.exists() {
        return Ok(());
    }
    Err(Fail::usage(anyhow!("there is no file {}", run.display())))
}
