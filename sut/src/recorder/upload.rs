//! `--metrics-upload`: uploads the record's files and plots to an object store after the run.

use vllm_metrics::{FinishedRun, SessionBuilder};

use crate::exit::Fail;
use crate::plan::MetricsPlan;

/// Lets the session upload its files at its end. An unusable URL or option is reported before any load.
///
/// # Errors
/// [`crate::exit::Exit::Usage`].
#[cfg(feature = "upload")]
pub(super) fn attach(builder: SessionBuilder, metrics: &MetricsPlan) -> Result<SessionBuilder, Fail> {
    Ok(match start(metrics)? {
        Some(upload) => builder.upload(upload),
        None => builder,
    })
}

/// Does nothing: the plan refuses the flag in a build without the feature.
///
/// # Errors
/// None.
#[cfg(not(feature = "upload"))]
pub(super) fn attach(builder: SessionBuilder, _metrics: &MetricsPlan) -> Result<SessionBuilder, Fail> {
    Ok(builder)
}

#[cfg(feature = "upload")]
fn start(metrics: &MetricsPlan) -> Result<Option<vllm_metrics::store::upload::Upload>, Fail> {
    use vllm_metrics::store::upload::{Upload, UploadConfig};
    let Some(url) = &metrics.upload else {
        return Ok(None);
    };
    Upload::start(UploadConfig::new(url))
        .map(Some)
        .map_err(|error| Fail::usage(anyhow::anyhow!(error).context("--metrics-upload")))
}

/// Uploads the files derived from the record, and describes the outcome in lines.
#[cfg(feature = "upload")]
pub(crate) fn finish(metrics: &MetricsPlan, finished: &FinishedRun) -> Vec<String> {
    let pictures = match start(metrics) {
        Ok(Some(upload)) => upload,
        Ok(None) => return Vec::new(),
        Err(fail) => return vec![format!("NOT UPLOADED: {:#}", fail.error)],
    };
    for path in derived_files(&metrics.output_dir, &finished.manifest.stamp) {
        pictures.file(path);
    }
    let (drawn, recorded) = (pictures.settle(), finished.uploads.clone().unwrap_or_default());
    let mut lines = vec![format!(
        "{} files, {} bytes uploaded to {}; {} attempts were repeated",
        recorded.files + drawn.files,
        recorded.bytes + drawn.bytes,
        metrics.upload.as_deref().unwrap_or_default(),
        recorded.retries + drawn.retries
    )];
    // What the session itself could not upload is listed with what is missing.
    lines.extend(
        drawn
            .problems()
            .into_iter()
            .map(|problem| format!("MISSING: {problem}")),
    );
    lines
}

/// The files that are made from a record after its session ended: report, trace, verdict, comparison, pictures, summary.
#[cfg(any(test, feature = "upload"))]
fn derived_files(folder: &std::path::Path, stamp: &str) -> Vec<std::path::PathBuf> {
    let found = |folder: &std::path::Path, starts: &[&str]| {
        // A folder that does not exist holds nothing: without plots there is none for them.
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<_> = names
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.contains(stamp) && starts.iter().any(|start| name.starts_with(start))
            })
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        paths
    };
    let mut all = found(folder, &["report_", "trace_", "verdict_", "comparison_"]);
    all.extend(found(&folder.join("visualizations"), &[""]));
    all
}

/// Does nothing in a build without the feature.
#[cfg(not(feature = "upload"))]
pub(crate) fn finish(_metrics: &MetricsPlan, _finished: &FinishedRun) -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::derived_files;

    #[test]
    fn report_trace_verdict_and_pictures_are_uploaded_and_files_of_other_runs_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let plots = folder.path().join("visualizations");
        std::fs::create_dir(&plots).unwrap();
        for name in [
            "report_20260101_000000.html",
            "trace_20260101_000000.json",
            "verdict_20260101_000000.json",
            "comparison_20251231_000000_20260101_000000.html",
            "vllm_metrics_20260101_000000.parquet",
            "report_20260101_000001.html",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::write(plots.join("gpu_utilization_20260101_000000.png"), "").unwrap();
        let found = derived_files(folder.path(), "20260101_000000");
        let names: Vec<String> = found
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            names,
            [
                "comparison_20251231_000000_20260101_000000.html",
                "report_20260101_000000.html",
                "trace_20260101_000000.json",
                "verdict_20260101_000000.json",
                "gpu_utilization_20260101_000000.png",
            ]
        );
    }
}
