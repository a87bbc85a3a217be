//! Makes the report and the trace of stored runs, and prints how long each part took.
//!
//! usage: report RECORD… FOLDER

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::path::PathBuf;
use std::time::Instant;

use run_report::{Analysis, AnalysisOptions, HarnessVerdict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let folder = arguments.pop().ok_or("usage: report RECORD… FOLDER")?;
    for path in arguments {
        let begun = Instant::now();
        let record = vllm_metrics::read_run(&path)?;
        let read = begun.elapsed();
        let judged = path
            .parent()
            .map(|folder| HarnessVerdict::read(folder, &record.manifest.stamp))
            .transpose()?
            .flatten();
        let analysis = Analysis::of(
            &record,
            AnalysisOptions {
                judged,
                ..AnalysisOptions::default()
            },
        );
        let analysed = begun.elapsed();
        let page = run_report::page(&[&analysis], None);
        let stamp = &record.manifest.stamp;
        let paged = begun.elapsed();
        let report = run_report::write_report(&page, &folder.join(format!("report_{stamp}.html")))?;
        let written = begun.elapsed();
        let trace = run_report::write_trace(&page, &folder.join(format!("trace_{stamp}.json")))?;
        println!(
            "{}: {} bytes; read {read:.2?}, analysed {:.2?}, page {:.2?}, written {:.2?}, trace {:.2?}",
            report.path.display(),
            std::fs::metadata(&report.path)?.len(),
            analysed - read,
            paged - analysed,
            written - paged,
            begun.elapsed() - written,
        );
        for line in report
            .remarks
            .iter()
            .chain(&trace.remarks)
            .chain(&analysis.lines())
        {
            println!("  {line}");
        }
    }
    Ok(())
}
