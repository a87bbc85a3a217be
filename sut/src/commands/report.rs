//! `sut report`: writes the report, the plots and the summary of a stored run.

use std::path::Path;

use anyhow::anyhow;
use run_report::Judged;
use run_report::export::{Format, console};
use vllm_metrics::store::read_run;

use crate::cli::{ExportArg, ReportArgs};
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::recorder::{Wanted, make};

pub(super) fn run(args: &ReportArgs) -> Result<Exit, Fail> {
    must_exist(&args.run)?;
    let run = read_run(&args.run).map_err(Fail::usage)?;
    for note in &run.notes {
        tracing::warn!("{note}");
    }
    let of_run = folder_of(&args.run);
    let folder = args.output_dir.as_deref().unwrap_or(of_run);
    let wanted = Wanted {
        folder,
        plots: true,
        judged: Judged::read(of_run, &run.manifest.stamp).map_err(Fail::usage)?,
    };
    let (made, analysis) = make(&run, wanted)?;
    for line in &made.lines {
        print(&format!("{line}\n"));
    }
    if args.bench_output {
        print(&console(&analysis));
    }
    for (_, path) in made.files {
        print(&format!("{}\n", path.display()));
    }
    for export in &args.export {
        let format = match export {
            ExportArg::VllmBench => Format::VllmBench,
            ExportArg::Aiperf => Format::Aiperf,
            ExportArg::Endpoints => Format::Endpoints,
            ExportArg::Mlflow => Format::Mlflow,
        };
        let path = format.write(&analysis, folder).map_err(anyhow::Error::from)?;
        print(&format!("{}\n", path.display()));
    }
    Ok(Exit::Valid)
}

/// The folder of a run's files.
pub(super) fn folder_of(run: &Path) -> &Path {
    let of_run = if run.is_dir() { Some(run) } else { run.parent() };
    match of_run {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Refuses a stored run that does not exist, before its name is used.
pub(super) fn must_exist(run: &Path) -> Result<(), Fail> {
    if run.exists() {
        return Ok(());
    }
    Err(Fail::usage(anyhow!("there is no file {}", run.display())))
}
