//! `sut report`: writes the report, the plots and the summary of a stored run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use run_report::HarnessVerdict;
use run_report::export::{Format, console};
use vllm_metrics::RunData;
use vllm_metrics::store::{RunReader, read_run};
use vllm_metrics::view::Analysis;

use crate::cli::{ExportArg, ReportArgs};
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::plan::words;
use crate::recorder::{ReportRequest, make};

pub(super) fn run(args: &ReportArgs) -> Result<Exit, Fail> {
    must_exist(&args.run)?;
    let part = part(args)?;
    let run = match &part {
        Some(part) => read_part(&args.run, part)?,
        None => read_run(&args.run).map_err(Fail::usage)?,
    };
    for note in &run.notes {
        tracing::warn!("{note}");
    }
    let of_run = folder_of(&args.run);
    let folder = args.output_dir.as_deref().unwrap_or(of_run);
    let wanted = ReportRequest {
        folder,
        plots: true,
        // The verdict holds for the whole run only.
        judged: match part {
            Some(_) => None,
            None => HarnessVerdict::read(of_run, &run.manifest.stamp).map_err(Fail::usage)?,
        },
    };
    let (made, analysis) = make(Arc::new(Analysis::owning(run)), wanted)?;
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

/// A part of a run: from and to, after its start.
type Part = (Option<Duration>, Option<Duration>);

/// `None` if the whole run is wanted.
fn part(args: &ReportArgs) -> Result<Option<Part>, Fail> {
    let mut wrong = Vec::new();
    let from = words::duration("--from", args.from.as_ref(), &mut wrong);
    let to = words::duration("--to", args.to.as_ref(), &mut wrong);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        wrong.push("--from must be before --to".to_owned());
    }
    if !wrong.is_empty() {
        return Err(Fail::usage(anyhow!(wrong.join("\n"))));
    }
    Ok((from.is_some() || to.is_some()).then_some((from, to)))
}

/// Reads the samples, requests and events of a part of a run without loading the rest.
fn read_part(path: &Path, &(from, to): &Part) -> Result<RunData, Fail> {
    let reader = RunReader::open(path).map_err(Fail::usage)?;
    let nothing = reader.clone().metrics_by(|_| false).range(i64::MAX..);
    let started_ns = nothing.read().map_err(Fail::usage)?.manifest.started_ns;
    let at = |after: Duration| started_ns.saturating_add(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX));
    let range = from.map_or(i64::MIN, at)..=to.map_or(i64::MAX, at);
    let mut run = reader.range(range).read().map_err(Fail::usage)?;
    if run.series.is_empty() && run.requests.is_empty() {
        return Err(Fail::usage(anyhow!(
            "{} has no sample and no request in this part of the run",
            path.display()
        )));
    }
    let text = |time: Option<Duration>, otherwise: &str| {
        time.map_or_else(
            || otherwise.to_owned(),
            |time| format!("{} s", time.as_secs_f64()),
        )
    };
    run.notes.push(format!(
        "this is a part of the run: from {} to {} after its start",
        text(from, "0 s"),
        text(to, "the end")
    ));
    Ok(run)
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
