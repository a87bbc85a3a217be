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
    let folder = metrics.output_dir.join("visualizations");
    // The folder does not exist without plots.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .contains(&finished.manifest.stamp)
        {
            pictures.file(entry.path());
        }
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

/// Does nothing in a build without the feature.
#[cfg(not(feature = "upload"))]
pub(crate) fn finish(_metrics: &MetricsPlan, _finished: &FinishedRun) -> Vec<String> {
    Vec::new()
}
