//! After the end of a record: its lines for the console, its pictures and its summary.

use std::path::PathBuf;

use anyhow::Context;
use vllm_metrics::FinishedRun;
use vllm_metrics::store::read_run;
use vllm_report::RenderOptions;

use super::describe::{describe, of_requests};
use crate::plan::MetricsPlan;

/// Draws what was recorded; adds what came out to `files` and what is missing to `lines`.
pub(crate) fn finish(
    metrics: &MetricsPlan,
    finished: &FinishedRun,
    files: &mut Vec<(&'static str, PathBuf)>,
    lines: &mut Vec<String>,
) {
    lines.extend(describe(finished));
    files.push(("samples", finished.samples_path.clone()));
    files.extend(finished.processed_path.clone().map(|path| ("processed", path)));
    files.extend(
        finished
            .processed_requests_path
            .clone()
            .map(|path| ("requests", path)),
    );
    if let Err(error) = draw(metrics, finished, files, lines) {
        // The raw record is whole; only what is made of it is not, and it can be made again.
        lines.push(format!(
            "NO PICTURES: {error:#}; try again with: sut report {}",
            finished.samples_path.display()
        ));
    }
}

fn draw(
    metrics: &MetricsPlan,
    finished: &FinishedRun,
    files: &mut Vec<(&'static str, PathBuf)>,
    lines: &mut Vec<String>,
) -> anyhow::Result<()> {
    let run = read_run(&finished.samples_path).context("the record cannot be read back")?;
    lines.extend(of_requests(&run));
    if !metrics.plots {
        // The summary is the one file that says what was missing, so it is written all the same.
        let folder = metrics.output_dir.join("visualizations");
        std::fs::create_dir_all(&folder).context("the summary's folder cannot be made")?;
        let path = folder.join(format!("metrics_summary_{}.json", run.manifest.stamp));
        let text = serde_json::to_string_pretty(&vllm_report::summarize(&run))?;
        mlperf_rules::files::write(&path, &(text + "\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
        files.push(("summary", path));
        return Ok(());
    }
    let rendered = vllm_report::render(&run, &metrics.output_dir, &RenderOptions::default())?;
    files.push(("overview", rendered.overview));
    files.push(("summary", rendered.summary));
    Ok(())
}
