//! Derives files from a stored record: report, trace, plots, summary, and comparisons with other records.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use run_report::{Analysis, AnalysisOptions, CompareOptions, Conclusion, HarnessVerdict};
use vllm_metrics::view;
use vllm_report::{Outcome, RenderOptions};

use crate::exit::Exit;

/// What to derive from a record.
pub(crate) struct ReportRequest<'a> {
    /// Output folder.
    pub(crate) folder: &'a Path,
    /// Whether to draw the plots.
    pub(crate) plots: bool,
    /// The verdict on the run.
    pub(crate) judged: Option<HarnessVerdict>,
}

/// The files derived from a record.
pub(crate) struct MadeReport {
    /// The files, by kind.
    pub(crate) files: Vec<(&'static str, PathBuf)>,
    /// The steady window, the bottleneck of the run, and what the report leaves out.
    pub(crate) lines: Vec<String>,
}

/// Analyses a record once and writes all files.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn make<'a>(
    data: Arc<view::Analysis<'a>>,
    wanted: ReportRequest<'_>,
) -> anyhow::Result<(MadeReport, Analysis<'a>)> {
    let analysis = Analysis::of_data(
        data,
        AnalysisOptions {
            judged: wanted.judged,
            ..AnalysisOptions::default()
        },
    );
    let stamp = &analysis.record().manifest.stamp;
    let folder = wanted.folder;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let page = run_report::page(&[&analysis], None);
    let report = run_report::write_report(&page, &folder.join(format!("report_{stamp}.html")))?;
    let trace = run_report::write_trace(&page, &folder.join(format!("trace_{stamp}.json")))?;
    let mut files = vec![("report", report.path), ("trace", trace.path)];
    if wanted.plots {
        let options = RenderOptions {
            summary: Some(analysis.summary.clone()),
            outcome: analysis.judged.as_ref().map(|judged| Outcome {
                word: judged.result.clone(),
                reason: judged.interrupted.clone(),
            }),
            ..RenderOptions::default()
        };
        let rendered = vllm_report::render(analysis.data(), folder, &options).context("cannot draw")?;
        files.extend([
            ("picture: overview", rendered.overview),
            ("picture: requests", rendered.requests),
            ("picture: GPUs", rendered.gpu),
            ("summary", rendered.summary),
        ]);
    } else {
        // Written in any case, since the summary states what was missing.
        let folder = folder.join("visualizations");
        std::fs::create_dir_all(&folder).context("the summary's folder cannot be made")?;
        let path = folder.join(format!("metrics_summary_{stamp}.json"));
        let text = serde_json::to_string_pretty(&analysis.summary)?;
        mlperf_rules::files::write(&path, &(text + "\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
        files.push(("summary", path));
    }
    let mut lines = analysis.lines();
    lines.extend(report.remarks);
    lines.extend(trace.remarks);
    Ok((MadeReport { files, lines }, analysis))
}

/// A written comparison.
pub(crate) struct Compared {
    /// The page.
    pub(crate) page: PathBuf,
    /// The comparison in sentences.
    pub(crate) lines: Vec<String>,
    /// The exit status of the outcome.
    pub(crate) exit: Exit,
}

/// `A`, `B` and so on.
pub(crate) fn names() -> impl Iterator<Item = String> {
    let letters = ('A'..='Z').map(|letter| letter.to_string());
    letters.chain((27..).map(|number| format!("run {number}")))
}

/// Compares records and writes the page. `repeats` is the number of baseline runs if both sides are repeats
/// of a setting.
///
/// # Errors
/// When there is nothing to compare, or the page cannot be written.
pub(crate) fn compare_records(
    records: impl IntoIterator<Item = (Arc<view::Analysis<'static>>, Option<HarnessVerdict>)>,
    repeats: Option<(usize, bool)>,
    options: &CompareOptions,
    strict: bool,
    page: &Path,
) -> anyhow::Result<Compared> {
    let analyses: Vec<Analysis<'_>> = records
        .into_iter()
        .zip(names())
        .map(|((data, judged), name)| {
            Analysis::of_data(
                data,
                AnalysisOptions {
                    name,
                    judged,
                    ..AnalysisOptions::default()
                },
            )
        })
        .collect();
    let runs: Vec<&Analysis<'_>> = analyses.iter().collect();
    let compared = match repeats {
        Some((count, in_turn)) => {
            let (base, other) = runs.split_at(count.min(runs.len()));
            run_report::compare_repeats(base, other, in_turn, options)?
        }
        None => run_report::compare(&runs, options)?,
    };
    let exit = match compared.conclusion() {
        Conclusion::Regressed => Exit::Regression,
        Conclusion::NotComparable => Exit::NotComparable,
        _ if strict && compared.is_undecided() => Exit::Inconclusive,
        _ => Exit::Valid,
    };
    let lines = compared.sentences();
    run_report::write_report(&run_report::page(&runs, Some(compared.page)), page)?;
    Ok(Compared {
        page: page.to_owned(),
        lines,
        exit,
    })
}
