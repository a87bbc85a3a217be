//! `sut compare`: compares stored runs.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use run_report::{CompareOptions, HarnessVerdict};
use vllm_metrics::store::read_run;
use vllm_metrics::view::Analysis;

use super::each_run_once;
use super::report::{folder_of, must_exist};
use crate::cli::CompareArgs;
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::recorder::{compare_records, names};

pub(super) fn run(args: &CompareArgs) -> Result<Exit, Fail> {
    let options = options(args)?;
    let (runs, against) = (each_run_once(&args.runs), each_run_once(&args.against));
    let paths: Vec<&Path> = runs.iter().chain(&against).copied().collect();
    if paths.len() < 2 {
        return Err(Fail::usage(anyhow!(
            "a comparison needs two runs: sut compare BASELINE RUN"
        )));
    }
    if let Some((at, path)) = paths
        .iter()
        .enumerate()
        .find(|(at, path)| paths[..*at].contains(path))
    {
        return Err(Fail::usage(anyhow!(
            "run {} is {} again: a run cannot be compared with itself",
            at + 1,
            path.display()
        )));
    }
    let mut records: Vec<(Arc<Analysis<'static>>, Option<HarnessVerdict>)> = Vec::new();
    let mut stamps = Vec::new();
    for (path, name) in paths.iter().zip(names()) {
        must_exist(path)?;
        let record = read_run(path).map_err(Fail::usage)?;
        for note in &record.notes {
            tracing::warn!("{name}: {note}");
        }
        print(&format!("{name} is {}\n", path.display()));
        let judged = HarnessVerdict::read(folder_of(path), &record.manifest.stamp).map_err(Fail::usage)?;
        stamps.push(record.manifest.stamp.clone());
        records.push((Arc::new(Analysis::owning(record)), judged));
    }
    let repeats = (!against.is_empty()).then_some((runs.len(), args.in_turn));
    let page = args.output.clone().unwrap_or_else(|| {
        let name = format!("comparison_{}_{}.html", stamps[0], stamps[stamps.len() - 1]);
        folder_of(paths[paths.len() - 1]).join(name)
    });
    let compared = compare_records(records, repeats, &options, args.strict, &page)?;
    for line in &compared.lines {
        print(&format!("{line}\n"));
    }
    print(&format!("{}\n", compared.page.display()));
    Ok(compared.exit)
}

fn options(args: &CompareArgs) -> Result<CompareOptions, Fail> {
    for (flag, value) in [
        ("--min-effect", args.min_effect),
        ("--equivalence", args.equivalence),
    ] {
        if !(value > 0.0 && value < 1.0) {
            return Err(Fail::usage(anyhow!(
                "{flag} {value}: must be above 0 and below 1"
            )));
        }
    }
    Ok(CompareOptions {
        min_effect: args.min_effect,
        equivalence: args.equivalence,
        across: args.across.clone(),
    })
}
