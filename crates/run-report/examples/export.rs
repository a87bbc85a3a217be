//! Writes the report, the trace, the summary and every export of a stored run into a folder, and prints the console block.
//!
//! usage: export RECORD FOLDER

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::path::PathBuf;

use run_report::export::{Format, console};
use run_report::{Analysis, AnalysisOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(path), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: export RECORD FOLDER".into());
    };
    let record = vllm_metrics::read_run(&path)?;
    let analysis = Analysis::of(&record, AnalysisOptions::default());
    let stamp = &record.manifest.stamp;
    let summary = folder.join(format!("metrics_summary_{stamp}.json"));
    std::fs::write(summary, serde_json::to_vec_pretty(&analysis.summary)?)?;
    let page = run_report::page(&[&analysis], None);
    run_report::write_report(&page, &folder.join(format!("report_{stamp}.html")))?;
    run_report::write_trace(&page, &folder.join(format!("trace_{stamp}.json")))?;
    for format in Format::ALL {
        println!("{}", format.write(&analysis, &folder)?.display());
    }
    println!("{}", console(&analysis));
    Ok(())
}
