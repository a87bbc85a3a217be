//! Finishes a record: its lines for the console, its report, its plots and its summary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use run_report::{CompareOptions, HarnessVerdict};
use vllm_metrics::FinishedRun;
use vllm_metrics::store::read_run;
use vllm_metrics::view::Analysis;

use super::describe::{describe, of_requests};
use super::report::{ReportRequest, compare_records, make};
use crate::exit::Exit;
use crate::plan::MetricsPlan;

/// Derives everything from the record; adds the results to `files` and what is missing to `lines`. Returns
/// the status of the comparison with `--baseline`, if there was one.
pub(crate) fn finish(
    metrics: &MetricsPlan,
    finished: &FinishedRun,
    judged: Option<HarnessVerdict>,
    files: &mut Vec<(&'static str, PathBuf)>,
    lines: &mut Vec<String>,
) -> Option<Exit> {
    lines.extend(describe(finished));
    files.push(("samples", finished.samples_path.clone()));
    files.extend(
        finished
            .processed_path
            .clone()
            .map(|path| ("processed samples", path)),
    );
    files.extend(
        finished
            .processed_requests_path
            .clone()
            .map(|path| ("processed requests", path)),
    );
    match report(metrics, finished, judged, files, lines) {
        Ok(exit) => exit,
        Err(error) => {
            // The raw record is complete; the derived files are not, but can be regenerated.
            lines.push(format!(
                "NO REPORT: {error:#}; try again with: sut report {}",
                finished.samples_path.display()
            ));
            None
        }
    }
}

fn report(
    metrics: &MetricsPlan,
    finished: &FinishedRun,
    judged: Option<HarnessVerdict>,
    files: &mut Vec<(&'static str, PathBuf)>,
    lines: &mut Vec<String>,
) -> anyhow::Result<Option<Exit>> {
    let data = match &finished.analysis {
        Some(data) => Arc::clone(data),
        // The session could not read it: says why.
        None => Arc::new(Analysis::owning(
            read_run(&finished.samples_path).context("the record cannot be read back")?,
        )),
    };
    lines.extend(of_requests(&data));
    let stamp = &data.run().manifest.stamp;
    if let Some(judged) = &judged {
        files.push(("verdict", judged.write(&metrics.output_dir, stamp)?));
    }
    let wanted = ReportRequest {
        folder: &metrics.output_dir,
        plots: metrics.plots,
        judged: judged.clone(),
    };
    let (made, _) = make(Arc::clone(&data), wanted)?;
    files.extend(made.files);
    lines.extend(made.lines);
    let Some(baseline) = &metrics.baseline else {
        return Ok(None);
    };
    let base = read_run(baseline).with_context(|| format!("--baseline {}", baseline.display()))?;
    let folder = if baseline.is_dir() {
        baseline
    } else {
        baseline.parent().unwrap_or(Path::new("."))
    };
    let base_judged = HarnessVerdict::read(folder, &base.manifest.stamp)?;
    let page = metrics
        .output_dir
        .join(format!("comparison_{}_{}.html", base.manifest.stamp, stamp));
    let base = Arc::new(Analysis::owning(base));
    let runs = [(base, base_judged), (Arc::clone(&data), judged)];
    let compared = compare_records(runs, None, &CompareOptions::default(), false, &page)?;
    lines.extend(compared.lines);
    files.push(("comparison", compared.page));
    Ok(Some(compared.exit))
}
